"""Slices that belong together, found from their pixels alone."""
