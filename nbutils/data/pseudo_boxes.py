"""Pseudo boxes: guesses of where the defects are in images of which the class alone is known."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from scipy import ndimage, stats
from skimage import filters, measure, morphology, transform
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from nbutils.data.cells import EDGES
from nbutils.data.images import BLANK_RANGE

WINDOW = 1 / 15  # of the image's side, in which contrast is measured
GAP = 1 / 45  # of the side, that a region closes
LEAST_AREA = 1 / 256  # of the image, of a region
LEAST_WEIGHT = 0.2  # share of the weightiest region's: how far its pixels stand out, in sum
SAMPLE = 200  # images of a class, whose features are analysed
BATCH = 64
FeatureMaps = Callable[[np.ndarray], np.ndarray]


def draw(
    images: np.ndarray,
    y: np.ndarray,
    feature_maps: FeatureMaps | None = None,
    normal: tuple[int, ...] = (),
) -> list[np.ndarray]:
    """Draw boxes around the regions of each image that stand out, for its class.

    Where some images have no defect, a region stands out by the Mahalanobis distance of its
    features to theirs (with places apart, Defard et al., ICPR 2020). Else by its contrast, and by
    how far its features lie along the direction in which those of its class vary most, towards
    their longer tail (deep descriptor transforming, Wei et al., Pattern Recognition 88, 2019), both
    standardised and added. Regions begin at the threshold of Otsu (IEEE SMC 9, 1979).

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
    without_defect = np.flatnonzero(np.isin(y, normal))
    measure_class = _choose_measure(images[_spread(without_defect)], feature_maps)
    bar = tqdm(desc="Pseudo boxes", total=len(y) - len(without_defect), unit="image", leave=False)
    for number in set(y.tolist()) - set(normal):
        places = np.flatnonzero(y == number)
        for place, values in zip(places, measure_class(images[places]), strict=True):
            if np.ptp(images[place]) >= BLANK_RANGE:
                edges = [(number, *each) for each in _regions(values)]
                boxes[place] = np.array(edges, np.float32).reshape(-1, 1 + EDGES)
            bar.update()
    return boxes


def _choose_measure(
    without_defect: np.ndarray, feature_maps: FeatureMaps | None
) -> Callable[[np.ndarray], Iterable[np.ndarray]]:
    """Return what measures, for the images of a class, how far each pixel stands out."""
    if not feature_maps:
        return partial(map, _contrast)
    if not len(without_defect):
        return partial(_contrast_and_component, feature_maps=feature_maps)
    scaler = StandardScaler()
    gaussian = LedoitWolf().fit(scaler.fit_transform(_points(without_defect, feature_maps)))

    def distance(points: np.ndarray) -> np.ndarray:
        return np.sqrt(gaussian.mahalanobis(scaler.transform(points)))

    return partial(_map_points, distance, feature_maps=feature_maps)


def _contrast(image: np.ndarray) -> np.ndarray:
    """Return the deviation of gray values around each pixel, standardised."""
    values, window = image[..., 0].astype(np.float32), _odd(WINDOW * len(image))
    mean = ndimage.uniform_filter(values, window)
    variance = ndimage.uniform_filter(values**2, window) - mean**2
    return _standardise(np.sqrt(np.maximum(variance, 0)))


def _contrast_and_component(images: np.ndarray, feature_maps: FeatureMaps) -> Iterator[np.ndarray]:
    """Yield the contrast, plus how far features lie along the first principal component of all."""
    component = make_pipeline(StandardScaler(), PCA(1, svd_solver="covariance_eigh"))
    points = component.fit_transform(_points(images[_spread(np.arange(len(images)))], feature_maps))
    sign = np.sign(np.nan_to_num(stats.skew(points, axis=None)))
    along = _map_points(lambda points: sign * component.transform(points), images, feature_maps)
    for image, each in zip(images, along, strict=True):
        yield _contrast(image) + each


def _spread(places: np.ndarray) -> np.ndarray:
    """Return at most `SAMPLE` of the places, evenly."""
    return places[:: max(-(-len(places) // SAMPLE), 1)]


def _points(images: np.ndarray, feature_maps: FeatureMaps) -> np.ndarray:
    """Return the features at all points of images: (points, channels)."""
    maps = np.concatenate([feature_maps(batch) for batch in _batches(images)])
    return maps.reshape(-1, maps.shape[-1])


def _map_points(
    function: Callable[[np.ndarray], np.ndarray], images: np.ndarray, feature_maps: FeatureMaps
) -> Iterator[np.ndarray]:
    """Yield a function of the features at each point of an image, enlarged and standardised."""
    for batch in _batches(images):
        maps = feature_maps(batch)
        values = function(maps.reshape(-1, maps.shape[-1])).reshape(maps.shape[:3])
        for each in values:
            yield _standardise(transform.resize(each, images.shape[1:3], order=1))


def _regions(values: np.ndarray) -> list[tuple[int, int, int, int]]:
    """Return the edges of regions above the threshold, (xmin, ymin, xmax, ymax) in pixels."""
    gap = _odd(GAP * len(values))
    mask = morphology.closing(values > filters.threshold_otsu(values), np.ones((gap, gap)))
    regions = measure.regionprops(measure.label(mask, connectivity=1), values - values.min())
    weights = [region.area * region.intensity_mean for region in regions]
    least = LEAST_WEIGHT * max(weights, default=0)
    return [
        (left, top, right, bottom)
        for region, weight in zip(regions, weights, strict=True)
        for top, left, bottom, right in [region.bbox]
        if region.area >= LEAST_AREA * values.size and weight >= least
    ]


def _batches(images: np.ndarray) -> list[np.ndarray]:
    return [images[first : first + BATCH] for first in range(0, len(images), BATCH)]


def _standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-6)


def _odd(pixels: float) -> int:
    return 2 * int(pixels / 2) + 1
