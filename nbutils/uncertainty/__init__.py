"""Uncertainty: calibration, prediction sets, novelty, review and drift."""
