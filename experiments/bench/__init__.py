"""Measures btjax against PyTorch, Keras and captum: see `experiments.bench.__main__`."""
