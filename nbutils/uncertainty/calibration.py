"""Do probabilities mean what they say? Temperature, calibration error, reliability."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

N_BINS = 15  # of equal width in confidence
TEMPERATURES = (0.05, 20.0)  # searched between
MAX_DISTANCE_WEIGHT = 20.0  # searched up to
EPSILON = 1e-12  # least probability that logarithms see


def temperature_scale(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind probabilities by a temperature.

    Guo, Pleiss, Sun and Weinberger, ICML 2017 (arXiv:1706.04599). The order of the classes stays.

    Parameters
    ----------
    probabilities
        Shape (images, classes), rows of sum 1.
    temperature
        Above 1 makes the model less sure, below 1 surer.

    Returns
    -------
    float array of the same shape, rows of sum 1.
    """
    return _softmax(np.log(np.maximum(probabilities, EPSILON)) / temperature)


def weigh_by_distance(
    probabilities: np.ndarray, distances: np.ndarray, weight: float
) -> np.ndarray:
    """Lower the probability of classes whose training images are far from an image.

    Each probability is divided by a power of the distance to its class. Network and distances, two
    opinions on the class, are thus multiplied (products of experts: Hinton, Neural Computation
    2002). By a power, and not by a normal density: of an image far from all classes, the distances
    say little.

    Parameters
    ----------
    probabilities
        Shape (images, classes), rows of sum 1.
    distances
        To each class, as `ClassGaussians.class_distances` returns them, of the same shape.
    weight
        The exponent, 0 or more; 0 leaves the probabilities as they are.

    Returns
    -------
    float array of the same shape, rows of sum 1.
    """
    logits = np.log(np.maximum(probabilities, EPSILON))
    return _softmax(logits - weight * np.log(np.maximum(distances, EPSILON)))


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_distance_weight(probabilities: np.ndarray, distances: np.ndarray, y: np.ndarray) -> float:
    """Return the weight of `weigh_by_distance` with the least log loss.

    It makes the model surer only as far as the images can tell: see `_confidence_bound`. Distances
    are to Gaussians that were fitted without these images; y are class numbers (int).
    """
    from scipy.optimize import minimize_scalar

    def weighed(weight: float) -> np.ndarray:
        return weigh_by_distance(probabilities, distances, weight)

    def loss(weight: float) -> float:
        return log_loss(weighed(weight), y)

    most = _confidence_bound(weighed, len(y), 0, MAX_DISTANCE_WEIGHT)
    result = minimize_scalar(loss, bounds=(0, most), method="bounded")
    return float(result.x) if result.fun < loss(0) else 0.0


def fit_temperature(probabilities: np.ndarray, y: np.ndarray) -> float:
    """Return the temperature with the least log loss, for class numbers y (int, one an image).

    One below 1 makes the model surer only as far as the images can tell: see `_confidence_bound`.
    """
    from scipy.optimize import minimize_scalar

    def scaled(temperature: float) -> np.ndarray:
        return temperature_scale(probabilities, temperature)

    def loss(log_temperature: float) -> float:
        return log_loss(scaled(np.exp(log_temperature)), y)

    lowest, highest = TEMPERATURES
    bounds = np.log([_confidence_bound(scaled, len(y), 1, lowest), highest])
    result = minimize_scalar(loss, bounds=bounds, method="bounded")
    return float(np.exp(result.x))


def _confidence_bound(
    probabilities: Callable[[float], np.ndarray], images: int, start: float, end: float
) -> float:
    """Return how far a parameter may go, before confidence exceeds what images can tell.

    The log loss of images without an error falls without end as confidence rises. Its mean may
    therefore not exceed (images + 1) / (images + 2), the chance that the next image is right if
    these all were, by Laplace's rule of succession. Platt (Advances in Large Margin Classifiers,
    1999) takes it as target of calibration for the same reason.
    """
    from scipy.optimize import brentq

    def excess(value: float) -> float:
        confidence = probabilities(value).max(axis=1).mean()
        return float(confidence - (images + 1) / (images + 2))

    if excess(start) >= 0:
        return float(start)
    return float(brentq(excess, start, end)) if excess(end) > 0 else float(end)


def log_loss(probabilities: np.ndarray, y: np.ndarray) -> float:
    """Return the mean negative log-likelihood of class numbers y, in nats."""
    true = probabilities[np.arange(len(y)), y]
    return float(-np.log(np.maximum(true, EPSILON)).mean())


def calibration_metrics(probabilities: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Measure probabilities against class numbers y (int, one an image).

    Returns
    -------
    accuracy; confidence (mean); ece, the expected calibration error over `N_BINS`; brier, the sum
    of squared errors over the classes, in [0, 2]; log_loss (nats).
    """
    table = reliability(probabilities, y)
    gaps = (table["confidence"] - table["accuracy"]).abs()
    one_hot = np.eye(probabilities.shape[1])[y]
    return {
        "accuracy": float((probabilities.argmax(axis=1) == y).mean()),
        "confidence": float(probabilities.max(axis=1).mean()),
        "ece": float((gaps * table["images"]).sum() / len(y)),
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "log_loss": log_loss(probabilities, y),
    }


def reliability(probabilities: np.ndarray, y: np.ndarray) -> "pd.DataFrame":
    """Compare confidence with accuracy, bin by bin of confidence.

    Returns
    -------
    One row for each of `N_BINS` that has images: confidence and accuracy (means), images.
    """
    import pandas as pd

    confidence = probabilities.max(axis=1)
    table = pd.DataFrame(
        {
            "bin": np.minimum((confidence * N_BINS).astype(int), N_BINS - 1),
            "confidence": confidence,
            "accuracy": (probabilities.argmax(axis=1) == y).astype(float),
        }
    )
    means = table.groupby("bin").mean()
    return means.assign(images=table["bin"].value_counts()).reset_index(drop=True)
