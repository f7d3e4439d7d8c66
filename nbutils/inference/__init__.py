"""Inference: from bytes to predictions, on Keras or LiteRT; activation maps, export, batches."""
