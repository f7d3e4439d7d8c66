"""Classical texture classification: local binary patterns and a support vector machine."""

import hashlib
from contextlib import suppress

import numpy as np
from joblib import Parallel, delayed
from skimage.feature import local_binary_pattern
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from nbutils import disk, runs
from nbutils.runtime import usable_cores

RADII = (1, 2, 3)  # pixels
SIZE = 200  # pixels, side of the images


def histograms(image: np.ndarray) -> np.ndarray:
    """Describe an image by histograms of local binary patterns at the `RADII`.

    Rotation invariant uniform patterns (Ojala, Pietikäinen, Mäenpää, IEEE TPAMI 24, 2002).

    Parameters
    ----------
    image
        uint8, shape (size, size, 1).

    Returns
    -------
    float array (54,): a histogram for each radius, of sum 1.
    """
    return np.concatenate([_histogram(image[..., 0], radius) for radius in RADII])


def cached_histograms(images: np.ndarray) -> np.ndarray:
    """Return the `histograms` of images, from `outputs/cache` if these were described before.

    Images are uint8 (images, size, size, 1), histograms float (images, 54).
    """
    digest = hashlib.sha256(repr((RADII, images.shape)).encode() + images.tobytes()).hexdigest()
    file = runs.OUTPUTS / runs.CACHE / f"lbp_{digest[:12]}.npy"
    with suppress(FileNotFoundError, ValueError, EOFError):  # or what is there is damaged
        return np.load(file)
    histograms = compute(images)
    with disk.atomic_write(file) as tmp:
        np.save(tmp, histograms)
    return histograms


def compute(images: np.ndarray) -> np.ndarray:
    """Compute the `histograms` of images, without their cache."""
    bar = tqdm(images, desc="Local binary patterns", unit="image", leave=False)
    threads = Parallel(n_jobs=usable_cores(), prefer="threads")  # scikit-image releases the GIL
    return np.stack(threads(delayed(histograms)(image) for image in bar))


def make_classifier() -> GridSearchCV:
    """Build the classifier of histograms; its penalty is chosen within the training part."""
    svm = make_pipeline(StandardScaler(), SVC())
    return GridSearchCV(svm, {"svc__C": [1, 10, 100]}, cv=2)


def _histogram(gray: np.ndarray, radius: int) -> np.ndarray:
    codes = local_binary_pattern(gray, 8 * radius, radius, method="uniform")
    return np.bincount(codes.astype(int).ravel(), minlength=8 * radius + 2) / codes.size
