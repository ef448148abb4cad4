"""Scores with their uncertainty: classification, calibration, reconstruction, baselines, the paper's numbers."""
