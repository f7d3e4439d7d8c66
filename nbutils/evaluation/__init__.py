"""Evaluation: metrics, protocols, and the experiments of the notebooks."""
