"""Published systems as records: a file each, found by name, and the config that every run is made from."""
