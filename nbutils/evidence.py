"""Where a model looks, for those who ask a faster form of it: Keras is loaded at the first map."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np

from nbutils.images import square
from nbutils.predict import load_predictor


class Evidence:
    """Activation maps of a run's or reference model."""

    def __init__(self, model: str | Path):
        self.model = model
        self._working = Lock()

    def heats(self, grays: Sequence[np.ndarray], labels: Sequence[str]) -> np.ndarray:
        """Map what speaks for a class in each image; many at once take less time.

        Parameters
        ----------
        grays
            One image or more, uint8 (height, width) each.
        labels
            Name of a class for each.

        Returns
        -------
        float32 array in [0, 1], shape (images, size, size) of the model's input.
        """
        with self._working:  # tf-keras-vis is no work for two threads at once
            predictor, maps = self._loaded
            squares = np.stack([square(gray, predictor.size) for gray in grays])
            return maps(squares, np.array([predictor.classes.index(label) for label in labels]))

    @cached_property
    def _loaded(self) -> tuple:
        from nbutils import explain

        predictor = load_predictor(self.model)
        return predictor, explain.explainer(predictor.model)
