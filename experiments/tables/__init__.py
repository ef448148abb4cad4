"""Markdown tables of the results files, one subject a file."""
