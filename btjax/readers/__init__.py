"""What a slice is, and every form of files that slices are read from."""
