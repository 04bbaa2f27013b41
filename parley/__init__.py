"""How Parley starts: command line, settings, composition root, supervisor, embedded services."""
