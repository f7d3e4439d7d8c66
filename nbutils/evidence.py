"""Where a model looks, for those who ask a faster form of it: Keras is loaded at the first map."""

from functools import cached_property
from pathlib import Path

import numpy as np

from nbutils.images import square
from nbutils.predict import load_predictor


class Evidence:
    """Activation maps of a run's or reference model."""

    def __init__(self, model: str | Path):
        self.model = model

    def heat(self, gray: np.ndarray, label: str) -> np.ndarray:
        """Map what speaks for a class in an image.

        Parameters
        ----------
        gray
            uint8, shape (height, width).
        label
            Name of the class.

        Returns
        -------
        float32 array in [0, 1], shape (size, size) of the model's input.
        """
        predictor, maps = self._loaded
        squares = square(gray, predictor.size)[np.newaxis]
        return maps(squares, np.array([predictor.classes.index(label)]))[0]

    @cached_property
    def _loaded(self) -> tuple:
        from nbutils import explain

        predictor = load_predictor(self.model)
        return predictor, explain.explainer(predictor.model)
