"""Arrays drawn as matplotlib figures."""
