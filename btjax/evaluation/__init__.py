"""Scores with their uncertainty: classification, calibration, prediction sets, comparisons, baselines."""
