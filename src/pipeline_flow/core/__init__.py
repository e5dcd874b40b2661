"""What a plugin is: its declaration, its spec, where it is found, and what it is given when it runs."""
