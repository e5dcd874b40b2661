"""Built-in plugins of the YAML key `post`: one file each, named like the plugin."""
