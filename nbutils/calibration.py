"""Do probabilities mean what they say? Temperature, calibration error, reliability."""

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from nbutils.trust import soften

BINS = 15  # of equal width in confidence
TEMPERATURES = (0.05, 20.0)  # searched between


def fit_temperature(probabilities: np.ndarray, numbers: np.ndarray) -> float:
    """Return the temperature with the least log loss, for class numbers (int, one an image)."""
    labels = range(probabilities.shape[1])

    def loss(logarithm: float) -> float:
        return log_loss(numbers, soften(probabilities, np.exp(logarithm)), labels=labels)

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def measures(probabilities: np.ndarray, numbers: np.ndarray) -> dict[str, float]:
    """Measure probabilities against class numbers (int, one an image).

    Returns
    -------
    accuracy; confidence (mean); ece, the expected calibration error over `BINS`; brier, the sum of
    squared errors over the classes, in [0, 2]; log_loss (nats).
    """
    table = reliability(probabilities, numbers)
    gaps = (table["confidence"] - table["accuracy"]).abs()
    right = probabilities.argmax(axis=1) == numbers
    truth = np.eye(probabilities.shape[1])[numbers]
    return {
        "accuracy": right.mean(),
        "confidence": probabilities.max(axis=1).mean(),
        "ece": (gaps * table["images"]).sum() / len(numbers),
        "brier": ((probabilities - truth) ** 2).sum(axis=1).mean(),
        "log_loss": log_loss(numbers, probabilities, labels=range(probabilities.shape[1])),
    }


def reliability(probabilities: np.ndarray, numbers: np.ndarray) -> pd.DataFrame:
    """Compare confidence with accuracy, bin by bin of confidence.

    Returns
    -------
    One row for each of `BINS` that has images: confidence and accuracy (means), images.
    """
    confidence = probabilities.max(axis=1)
    table = pd.DataFrame(
        {
            "bin": np.minimum((confidence * BINS).astype(int), BINS - 1),
            "confidence": confidence,
            "accuracy": (probabilities.argmax(axis=1) == numbers).astype(float),
        }
    )
    found = table.groupby("bin").mean()
    return found.assign(images=table["bin"].value_counts()).reset_index(drop=True)
