"""Built-in plugins of the YAML key `merge`: one file each, named like the plugin."""
