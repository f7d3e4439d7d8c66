"""Pseudo boxes: guesses of where the defects are in images of which the class alone is known."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage, stats
from skimage import filters, measure, morphology, transform
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbutils.data.cells import EDGES

WINDOW = 1 / 15  # of the image's side, in which contrast is measured
GAP = 1 / 45  # of the side, that a region closes
LEAST_AREA = 1 / 256  # of the image, of a region
LEAST_WEIGHT = 0.2  # of the weightiest region's, of the others
SAMPLE = 200  # images of a class, that its component is fitted to
BATCH = 64
FeatureMaps = Callable[[np.ndarray], np.ndarray]


def draw(
    images: np.ndarray,
    y: np.ndarray,
    feature_maps: FeatureMaps | None = None,
    normal: tuple[int, ...] = (),
) -> list[np.ndarray]:
    """Draw boxes around the regions of each image that stand out, for its class.

    What stands out has high contrast, and lies far along the direction in which the features of its
    class vary most, towards their longer tail (deep descriptor transforming, Wei et al., Pattern
    Recognition 88, 2019). Both are standardised and added; regions begin at the threshold of Otsu
    (IEEE SMC 9, 1979).

    Parameters
    ----------
    images
        uint8 (images, size, size, 1).
    y
        Class numbers (int).
    feature_maps
        From images to features of a pretrained network, (images, grid, grid, channels); by contrast
        alone without it.
    normal
        Class numbers that mean "no defect": without boxes.

    Returns
    -------
    As `cells.read_boxes`: float32 array (boxes, 5) for each image.
    """
    boxes = [np.empty((0, 1 + EDGES), np.float32)] * len(y)
    for number in set(y.tolist()) - set(normal):
        places = np.flatnonzero(y == number)
        of_class = images[places]
        far = _along_component(of_class, feature_maps) if feature_maps else [0.0] * len(of_class)
        for place, image, distance in zip(places, of_class, far, strict=True):
            edges = _regions(_standardise(_contrast(image[..., 0])) + distance)
            boxes[place] = np.array([(number, *each) for each in edges], np.float32).reshape(
                -1, 1 + EDGES
            )
    return boxes


def _contrast(gray: np.ndarray) -> np.ndarray:
    """Return the deviation of gray values around each pixel."""
    values, window = gray.astype(np.float32), _odd(WINDOW * len(gray))
    mean = ndimage.uniform_filter(values, window)
    return np.sqrt(np.maximum(ndimage.uniform_filter(values**2, window) - mean**2, 0))


def _along_component(images: np.ndarray, feature_maps: FeatureMaps) -> list[np.ndarray]:
    """Return how far each pixel lies along the first principal component of a class."""
    chosen = images[:: -(-len(images) // SAMPLE)]
    maps = np.concatenate([feature_maps(batch) for batch in _batches(chosen)])
    component = make_pipeline(StandardScaler(), PCA(1, svd_solver="covariance_eigh"))
    sign = np.sign(stats.skew(component.fit_transform(_points(maps)), axis=None))
    size = images.shape[1:3]
    distances = []
    for batch in _batches(images):
        maps = feature_maps(batch)
        along = sign * component.transform(_points(maps)).reshape(maps.shape[:3])
        distances += [_standardise(transform.resize(each, size, order=1)) for each in along]
    return distances


def _regions(values: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return the edges of regions above the threshold, (xmin, ymin, xmax, ymax) in pixels."""
    gap = _odd(GAP * len(values))
    mask = morphology.closing(values > filters.threshold_otsu(values), np.ones((gap, gap)))
    regions = measure.regionprops(measure.label(mask, connectivity=1), values - values.min())
    weights = [region.area * region.intensity_mean for region in regions]
    return [
        (left, top, right, bottom)
        for region, weight in zip(regions, weights, strict=True)
        for top, left, bottom, right in [region.bbox]
        if region.area >= LEAST_AREA * values.size and weight >= LEAST_WEIGHT * max(weights)
    ]


def _batches(images: np.ndarray) -> list[np.ndarray]:
    return [images[first : first + BATCH] for first in range(0, len(images), BATCH)]


def _points(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(-1, maps.shape[-1])


def _standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-6)


def _odd(pixels: float) -> int:
    return 2 * int(pixels / 2) + 1
