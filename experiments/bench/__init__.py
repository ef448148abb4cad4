"""Measures btjax against PyTorch and Keras: see `experiments.bench.__main__`."""
