"""Figures: one style, and a file for each package whose tables are drawn."""

from nbutils.plots import data, evaluation, models, style, uncertainty

__all__ = ["data", "evaluation", "models", "style", "uncertainty"]
