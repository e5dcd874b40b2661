"""Built-in plugins of the YAML key `pre`: one file each, named like the plugin."""
