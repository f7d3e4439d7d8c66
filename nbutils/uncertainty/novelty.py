"""Is an image like those of training? Mahalanobis distances in the middle of the network.

The distance to the nearest class is held against that to outliers: drawn images of no class.
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from threadpoolctl import ThreadpoolController

N_FOLDS = 5  # that images are held out in, for thresholds of novelty and drift
N_OUTLIERS = 600  # that the distance to outliers is measured by
LEAST = 1e-6  # distance


@dataclass(frozen=True)
class ClassGaussians:
    """A normal distribution of embeddings for each class."""

    centers: np.ndarray  # float32 (classes, dimensions)
    whitening: np.ndarray  # float32 (classes, dimensions, dimensions)

    def class_distances(self, embeddings: np.ndarray) -> np.ndarray:
        """Return how far embeddings (images, dimensions) are from each class.

        That is the Mahalanobis distance over the root of the dimensions: about 1 for images like
        those of the class. Shape (images, classes).
        """
        classes, dimensions = self.centers.shape
        with _blas().limit(limits=1, user_api="blas"):  # more would wait for one another
            whitened = embeddings @ self._joined_whitening - self._whitened_centers
        parts = whitened.reshape(-1, classes, dimensions)
        return np.sqrt(np.einsum("ncd,ncd->nc", parts, parts) / dimensions)

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """Return how far embeddings are from the nearest class: shape (images,)."""
        return self.class_distances(embeddings).min(axis=1)

    @cached_property
    def _joined_whitening(self) -> np.ndarray:
        """All whitenings as one matrix: (dimensions, classes x dimensions)."""
        return np.hstack(list(self.whitening))

    @cached_property
    def _whitened_centers(self) -> np.ndarray:
        return np.hstack([c @ w for c, w in zip(self.centers, self.whitening, strict=True)])


def relative_distances(to_classes: np.ndarray, to_outliers: np.ndarray) -> np.ndarray:
    """Return novelty: the squared distance to the nearest class over that to outliers.

    It is the distance to the nearest class, times its ratio to the distance to outliers: what
    resembles these is novel from a smaller distance on. After the relative Mahalanobis
    distance of Ren et al., 2021 (arXiv:2106.09022), whose background is all training images.

    Parameters
    ----------
    to_classes
        As `ClassGaussians.class_distances` returns them, (images, classes).
    to_outliers
        As `ClassGaussians.distances` of a fit to outliers, (images,).

    Returns
    -------
    float array (images,); below 1 for most images like those of training.
    """
    nearest = to_classes.min(axis=1)
    return nearest * nearest / np.maximum(to_outliers, LEAST)


def fit_gaussians(embeddings: np.ndarray, y: np.ndarray) -> ClassGaussians:
    """Fit a normal distribution to each class.

    Mahalanobis distances to class means are those of Lee, Lee, Lee and Shin (NeurIPS 2018,
    arXiv:1807.03888); each class has a covariance of its own here, since a texture's spread is
    part of what it is. Ledoit and Wolf's shrinkage makes it regular with few images.

    Parameters
    ----------
    embeddings
        Shape (images, dimensions).
    y
        Class numbers (int).
    """
    from sklearn.covariance import ledoit_wolf

    deviation = embeddings.std(axis=0)
    scale = np.maximum(deviation, deviation.mean() / 20)  # channels that training left dark
    scaled = embeddings / scale
    centers, whitening = [], []
    for number in np.unique(y):
        of_class = scaled[y == number]
        values, vectors = np.linalg.eigh(ledoit_wolf(of_class)[0])
        centers.append(of_class.mean(axis=0) * scale)
        whitening.append(vectors / np.sqrt(np.maximum(values, 1e-6)) / scale[:, np.newaxis])
    return ClassGaussians(np.asarray(centers, np.float32), np.asarray(whitening, np.float32))


def held_out_distances(
    embeddings: np.ndarray, y: np.ndarray, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return how far each image is from each class, consecutive images held out together.

    Parameters
    ----------
    embeddings
        As in `fit_gaussians`, at least two images a class, in the order that they were taken; then
        maybe those of corrupted copies, once or several times all images in the same order. An
        image is held out with its copies.
    y
        Class numbers of the images (int).
    groups
        Group numbers (int) of images that are as good as copies of each other (`splits.groups_of`),
        which are held out together too, unless a class has too few of them.

    Returns
    -------
    float array (embeddings, classes), as of `ClassGaussians.class_distances`.
    """
    copies = len(embeddings) // len(y)
    distances = np.empty((copies, len(y), len(np.unique(y))))
    of_copy = embeddings.reshape(copies, len(y), -1)
    fold = _folds(y, np.arange(len(y)) if groups is None else groups)
    for number in np.unique(fold):
        held_out, others = fold == number, fold != number
        known = of_copy[:, others].reshape(copies * others.sum(), -1)
        gaussians = fit_gaussians(known, np.tile(y[others], copies))
        for copy, values in zip(of_copy, distances, strict=True):
            values[held_out] = gaussians.class_distances(copy[held_out])
    return distances.reshape(len(embeddings), -1)


def consecutive_folds(y: np.ndarray) -> np.ndarray:
    """Number the fold (int) of each image: of every class, images one after another are in one."""
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(y), int)
    folds = StratifiedKFold(min(N_FOLDS, np.bincount(y).min()))
    for number, (_, held_out) in enumerate(folds.split(y, y)):
        fold[held_out] = number
    return fold


def _folds(y: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Number the fold (int) in which each image is held out; every class is in all the others."""
    fold = consecutive_folds(y)
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    together = fold[first][group]
    n_folds_of = [len(set(together[y == number])) for number in np.unique(y)]
    return together if min(n_folds_of) > 1 else fold


@cache
def _blas() -> ThreadpoolController:
    """Find the libraries of linear algebra, once."""
    return ThreadpoolController()
