"""Published weight files, read into variables."""
