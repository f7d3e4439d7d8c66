"""Linear probe: discriminant analysis on features of a frozen backbone, folded into its head."""

from typing import TYPE_CHECKING, Self

import numpy as np
from scipy import linalg, optimize
from scipy.special import log_softmax, logsumexp, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.covariance import ledoit_wolf
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

if TYPE_CHECKING:
    import keras

CORRUPTED_VIEWS = 2  # of a corrupted copy, which so counts a quarter of its image
LOG_TEMPERATURES = (0.0, 7.0)  # bounds of the natural logarithm: a probe is never made surer


class LinearProbe(ClassifierMixin, BaseEstimator):
    """Linear discriminant analysis of standardised features, whose covariance is shrunk.

    The classes share one covariance within them, shrunk as Ledoit and Wolf (Journal of Multivariate
    Analysis 88, 2004) estimate it from the images themselves: nothing is left to choose, and five
    images a class are enough. Each class weighs as much as any other, however many images it has,
    so that a rare one is not given up for a common one. (scikit-learn's own would shrink the
    covariance of each class by itself.)

    After `fit` it has kernel_ (channels, classes) and bias_ of one dense layer, and classes_.
    """

    def fit(self, features: np.ndarray, y: np.ndarray) -> Self:
        """Fit to features, (rows, channels), and their class numbers."""
        self.classes_, y = np.unique(y, return_inverse=True)
        weights = compute_sample_weight("balanced", y).astype(np.float32)
        scaler = StandardScaler()
        x = scaler.fit_transform(np.asarray(features, np.float32), sample_weight=weights)
        means = np.stack([x[y == number].mean(axis=0) for number in range(len(self.classes_))])
        deviations = (x - means[y]) * np.sqrt(weights)[:, np.newaxis]
        covariance, _ = ledoit_wolf(deviations, assume_centered=True)
        kernel = linalg.solve(covariance.astype(float), means.T.astype(float), assume_a="pos")
        bias = -(means.T * kernel).sum(axis=0) / 2
        self.kernel_ = kernel / scaler.scale_[:, np.newaxis]
        self.bias_ = bias - scaler.mean_ @ self.kernel_
        return self

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Return probabilities (rows, classes) of features (rows, channels)."""
        return softmax(features @ self.kernel_ + self.bias_, axis=1)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return class numbers (rows) of features (rows, channels)."""
        return self.classes_[self.predict_proba(features).argmax(axis=1)]


def fit(features: np.ndarray, y: np.ndarray, corrupted: np.ndarray | None = None) -> LinearProbe:
    """Fit a probe to features in all their views, each view an image of its own.

    The covariance within the classes then holds what corruption does to the features, and the probe
    looks elsewhere.

    Parameters
    ----------
    features
        As `features.extract` returns them: (images, views, channels).
    y
        Class numbers (int), one an image.
    corrupted
        Features of a corrupted copy of each image, of which `CORRUPTED_VIEWS` count: at full weight
        they cost accuracy on images as they are (`tests/measure_probe.py`).
    """
    if corrupted is None:
        corrupted = features[:, :0]
    of_both = np.concatenate([features, corrupted[:, :CORRUPTED_VIEWS]], axis=1)
    return LinearProbe().fit(np.concatenate(of_both), np.repeat(y, of_both.shape[1]))


def predict_proba(probe: LinearProbe, features: np.ndarray) -> np.ndarray:
    """Return a probe's probabilities averaged over the views given: (images, classes)."""
    flat = probe.predict_proba(np.concatenate(features))
    return flat.reshape(*features.shape[:2], -1).mean(axis=1)


def calibrate(probe: LinearProbe, features: np.ndarray, y: np.ndarray) -> float:
    """Divide a probe's logits by the temperature with the least loss on images held out.

    The views of an image are alike, which makes a probe that was fitted to them too sure. Images
    without an error cannot tell how sure it may be: so none counts as surer than (n + 1) / (n + 2)
    for n images, the target of Platt (Advances in Large Margin Classifiers, 1999).

    Arguments are those of `fit`, with the views that are averaged at prediction. Returns the
    temperature.
    """
    views = features.reshape(-1, features.shape[-1])
    logits = (views @ probe.kernel_ + probe.bias_).reshape(*features.shape[:2], -1)
    others = 1 / (len(y) + 2) / max(logits.shape[-1] - 1, 1)
    targets = np.full(logits[:, 0].shape, others)
    targets[np.arange(len(y)), y] = (len(y) + 1) / (len(y) + 2)

    def loss(logarithm: float) -> float:
        of_views = log_softmax(logits / np.exp(logarithm), axis=-1)
        return -(targets * logsumexp(of_views, axis=1)).sum()

    best = optimize.minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded")
    temperature = float(np.exp(best.x))
    probe.kernel_, probe.bias_ = probe.kernel_ / temperature, probe.bias_ / temperature
    return temperature


def set_head(model: "keras.Model", probe: LinearProbe) -> None:
    """Put a probe into the `probabilities` layer of a `networks.pretrained`, without dropout.

    A probe's weights are large and of both signs. Without some of the features, the logits would be
    far off, and the first steps of a training would destroy the backbone.
    """
    model.get_layer("dropout").rate = 0.0
    model.get_layer("probabilities").set_weights([probe.kernel_, probe.bias_])
