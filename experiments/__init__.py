"""Flags in, one command each."""
