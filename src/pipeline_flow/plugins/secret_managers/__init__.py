"""Built-in secret managers: one file each, named like the plugin."""
