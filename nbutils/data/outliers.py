"""Drawn images that show no steel: outliers, so that a network learns to be unsure of them."""

import numpy as np

from nbutils.data.images import resize

LOG_SCALES = (-1.5, 1.0)  # powers of two, of the side that is drawn over the one that is wanted


def draw_outlier(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an image of one of several kinds that have nothing to do with a surface of steel.

    They stand for whatever may come before a camera: outlier exposure (Hendrycks, Mazeika and
    Dietterich, ICLR 2019) without foreign data. Files have any size: so they are drawn at some
    other, and resized as any image is.

    Parameters
    ----------
    size
        Side in pixels.
    rng
        For the kind and all of the drawing.

    Returns
    -------
    uint8 array of shape (size, size).
    """
    drawn = round(size * 2 ** rng.uniform(*LOG_SCALES))
    values = KINDS[rng.integers(len(KINDS))](drawn, rng)
    values = (values - values.mean()) / (values.std() + 1e-6)
    values = values + rng.uniform(0, 0.4) * rng.standard_normal(values.shape)
    gray = rng.uniform(30, 225) + rng.uniform(2, 70) * values
    return resize(np.clip(gray, 0, 255).astype(np.uint8), size)[..., 0]


def draw_outliers(count: int, size: int, seed: int) -> np.ndarray:
    """Draw several outliers, uint8 (count, size, size, 1)."""
    drawn = [draw_outlier(size, np.random.default_rng((seed, at))) for at in range(count)]
    return np.array(drawn, np.uint8).reshape(count, size, size, 1)


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    line = np.linspace(0, 1, size, endpoint=False)
    return line[:, np.newaxis], line[np.newaxis]


def _noise(size, rng):
    """Noise whose power falls with frequency, stretched along one axis: white, pink, clouds."""
    stretch = rng.uniform(0.3, 3)
    down = np.fft.fftfreq(size)[:, np.newaxis] * stretch
    across = np.fft.rfftfreq(size)[np.newaxis] / stretch
    falling = np.hypot(down, across) + 1 / size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / falling ** rng.uniform(0, 2.5)
    return np.fft.irfft2(spectrum, (size, size))


def _grating(size, rng):
    """Parallel waves or stripes at a random angle."""
    rows, columns = _grid(size)
    angle = rng.uniform(0, np.pi)
    phase = 2 * np.pi * rng.uniform(3, 60) * (np.cos(angle) * columns + np.sin(angle) * rows)
    waves = np.sin(phase + rng.uniform(0, 2 * np.pi))
    return np.sign(waves) if rng.random() < 0.5 else waves


def _ellipses(size, rng):
    """Bright and dark ellipses of many sizes."""
    rows, columns = _grid(size)
    values = np.zeros((size, size))
    for _ in range(rng.integers(2, 40)):
        (y, x), (height, width) = rng.random(2), rng.uniform(0.01, 0.2, 2)
        inside = ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 < 1
        values += rng.choice((-1, 1)) * inside
    return values


def _tiles(size, rng):
    """Cells around random points, flat or with dark borders."""
    rows, columns = _grid(size)
    points = rng.random((rng.integers(5, 60), 2))
    distances = np.stack([(rows - y) ** 2 + (columns - x) ** 2 for y, x in points])
    if rng.random() < 0.5:
        return rng.standard_normal(len(points))[distances.argmin(axis=0)]
    nearest, second = np.partition(distances, 1, axis=0)[:2]
    return np.sqrt(second) - np.sqrt(nearest)


def _lines(size, rng):
    """Straight lines across a slope of gray."""
    rows, columns = _grid(size)
    values = rng.standard_normal() * rows + rng.standard_normal() * columns
    for _ in range(rng.integers(1, 30)):
        angle = rng.uniform(0, np.pi)
        distance = np.cos(angle) * columns + np.sin(angle) * rows - rng.uniform(-1, 1.4)
        values = values + rng.standard_normal() * (abs(distance) < rng.uniform(0.002, 0.02))
    return values


def _plain(size, rng):
    """Nothing but what is added to all kinds."""
    return np.zeros((size, size))


KINDS = (_noise, _grating, _ellipses, _tiles, _lines, _plain)
