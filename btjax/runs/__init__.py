"""A run's folder: its config, checkpoints, predictions and report, and the model that comes back from it."""
