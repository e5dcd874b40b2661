"""Built-in plugins of the YAML key `load`: one file each, named like the plugin."""
