"""Built-in plugins of the YAML key `extract`: one file each, named like the plugin."""
