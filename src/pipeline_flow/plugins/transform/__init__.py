"""Built-in plugins of the YAML key `transform`: one file each, named like the plugin."""
