"""Texture as the field described it before it had CNNs: local binary patterns and an SVM."""

import numpy as np
from joblib import Memory, Parallel, delayed
from skimage.feature import local_binary_pattern
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from nbutils import paths

RADII = (1, 2, 3)  # pixels
SIZE = 200  # pixels, side of the images


def histograms(square: np.ndarray, radii: tuple[int, ...] = RADII) -> np.ndarray:
    """Describe an image by histograms of local binary patterns at some radii.

    Rotation invariant uniform patterns (Ojala, Pietikäinen, Mäenpää, IEEE TPAMI 24, 2002).

    Parameters
    ----------
    square
        uint8, shape (size, size, 1).
    radii
        Pixels.

    Returns
    -------
    float array (54,): a histogram for each radius, of sum 1.
    """
    return np.concatenate([_histogram(square[..., 0], radius) for radius in radii])


def describe(squares: np.ndarray) -> np.ndarray:
    """Return the `histograms` of images, or take them from the cache in `outputs/cache`.

    Images are uint8 (images, size, size, 1), histograms float (images, 54).
    """
    kept = Memory(paths.OUTPUTS / "cache", verbose=0).cache(compute)
    return kept(squares, RADII)  # named, so that other radii are other results


def compute(squares: np.ndarray, radii: tuple[int, ...] = RADII) -> np.ndarray:
    """Compute what `describe` returns, without its cache."""
    bar = tqdm(squares, desc="Local binary patterns", unit="image", leave=False)
    side_by_side = Parallel(n_jobs=-1, prefer="threads")  # the patterns are computed without lock
    return np.stack(side_by_side(delayed(histograms)(square, radii) for square in bar))


def classifier() -> GridSearchCV:
    """Build the classifier of histograms; its penalty is chosen within the training part."""
    svm = make_pipeline(StandardScaler(), SVC())
    return GridSearchCV(svm, {"svc__C": [1, 10, 100]}, cv=2)


def _histogram(gray: np.ndarray, radius: int) -> np.ndarray:
    codes = local_binary_pattern(gray, 8 * radius, radius, method="uniform")
    return np.bincount(codes.astype(int).ravel(), minlength=8 * radius + 2) / codes.size
