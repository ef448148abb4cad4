"""Slices: what they are, reading them in every form that people keep them in, splits, preprocessing, synthetic ones."""
