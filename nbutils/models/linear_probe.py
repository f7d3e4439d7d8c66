"""Linear probe: logistic regression on features of a frozen backbone, folded into its head."""

from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    import keras

STRENGTHS = (1e-2, 1e-1, 1.0, 10.0)  # inverse regularisation to choose from


def make_probe(strength: float) -> Pipeline:
    """Build the probe: standardise each feature, then logistic regression.

    Parameters
    ----------
    strength
        Inverse of the L2 regularisation, C of scikit-learn.
    """
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))


def fit(probe: Pipeline, features: np.ndarray, y: np.ndarray) -> Pipeline:
    """Fit a probe to features in all their views.

    Parameters
    ----------
    probe
        As `make_probe` builds it.
    features
        As `inference.features.extract` returns them: (images, views, channels).
    y
        Class numbers (int), one an image.
    """
    return probe.fit(np.concatenate(features), np.repeat(y, features.shape[1]))


def predict_proba(probe: Pipeline, features: np.ndarray) -> np.ndarray:
    """Return a probe's probabilities averaged over the views given: (images, classes)."""
    flat = probe.predict_proba(np.concatenate(features))
    return flat.reshape(*features.shape[:2], -1).mean(axis=1)


def select(
    features: np.ndarray, y: np.ndarray, validation_features: np.ndarray, validation_y: np.ndarray
) -> tuple[float, Pipeline]:
    """Return the strength, of `STRENGTHS`, with the least validation loss, and its probe.

    Arguments are those of `fit`; validation may have fewer views, those averaged at prediction.
    """
    probes = {strength: fit(make_probe(strength), features, y) for strength in STRENGTHS}
    losses = {
        strength: log_loss(validation_y, predict_proba(probe, validation_features))
        for strength, probe in probes.items()
    }
    best = min(losses, key=losses.__getitem__)
    return best, probes[best]


def set_head(model: "keras.Model", probe: Pipeline) -> None:
    """Put a probe into the `probabilities` layer of a `networks.pretrained`."""
    model.get_layer("probabilities").set_weights(_as_dense(probe))


def _as_dense(probe: Pipeline) -> list[np.ndarray]:
    """Fold a probe into the kernel (channels, classes) and bias of one dense layer."""
    scaler, regression = probe[0], probe[1]
    kernel, bias = regression.coef_.T, regression.intercept_
    if kernel.shape[1] == 1:  # two classes share one column
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.hstack([-bias / 2, bias / 2])
    kernel = kernel / scaler.scale_[:, np.newaxis]
    return [kernel, bias - scaler.mean_ @ kernel]
