"""Built-in plugins of the YAML key `transform_at_load`: one file each, named like the plugin."""
