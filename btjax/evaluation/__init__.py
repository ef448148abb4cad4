"""Scores with their uncertainty: classification, calibration, sets, comparisons, reconstruction, baselines."""
