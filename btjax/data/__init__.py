"""Slices prepared once and read back, splits, preprocessing, synthetic ones."""
