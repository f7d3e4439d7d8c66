"""Corruptions of images by cameras on a shop floor: families at five severities.

The scheme is that of Hendrycks and Dietterich (ICLR 2019); the families and their strengths are
those of line cameras over strip steel.
"""

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image
from scipy import ndimage, signal

from nbutils.data.outliers import draw_outlier

SEVERITIES = (1, 2, 3, 4, 5)
N_FAMILIES = (0, 1, 1, 2)  # drawn from: by how many families a training image is corrupted
SIDE = 200  # pixels, side of the images that lengths are stated for


def corrupt(gray: np.ndarray, family: str, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Corrupt an image by one family.

    Parameters
    ----------
    gray
        uint8, shape (height, width).
    family
        One of `FAMILIES` or `AUGMENTATION`.
    severity
        1 is mild, 5 is severe, and 0 nearly nothing; values between are allowed.
    rng
        For noise, angles and places.

    Returns
    -------
    uint8 array of the same shape.
    """
    values = (FAMILIES | AUGMENTATION)[family](gray.astype(np.float32), severity / 5, rng)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def random_corruption(
    images: np.ndarray, seeds: np.ndarray, strength: float, families: Iterable[str] | None = None
) -> np.ndarray:
    """Corrupt images at random, by none, one or two families each.

    Parameters
    ----------
    images
        uint8, shape (images, size, size, 1).
    seeds
        One for each image (int).
    strength
        Share of the severities that are drawn from: 0 none, 1 all up to 5.
    families
        To draw from; by default those of `TRAINING` and of `AUGMENTATION`.

    Returns
    -------
    uint8 array of the same shape.
    """
    corrupted = images.copy()
    families = list(families or TRAINING | AUGMENTATION)
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        for family in rng.choice(families, rng.choice(N_FAMILIES), replace=False):
            severity = 5 * strength * np.sqrt(rng.random())  # severe ones more often than mild
            corrupted[index, ..., 0] = corrupt(corrupted[index, ..., 0], family, severity, rng)
    return corrupted


def with_corrupted_copies(
    images: np.ndarray, y: np.ndarray, strength: float, copies: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return images as they are, then copies as a camera may corrupt them, and their classes.

    Of the families that training draws, these copies have those of cameras and bending (`LIKELY`):
    what a model may expect to see, and what its review policy is fitted to.

    Parameters
    ----------
    images, y
        uint8 (images, size, size, 1), and class numbers (int).
    strength
        As `random_corruption` takes it; 0 gives no copies.
    copies
        Of each image.
    seed
        Of the corruptions.
    """
    copies = copies if strength else 0
    seeds = np.random.default_rng(seed).integers(2**32, size=(copies, len(images)))
    sets = [images, *(random_corruption(images, row, strength, LIKELY) for row in seeds)]
    return np.concatenate(sets), np.tile(y, len(sets))


def add_noise(gray: np.ndarray, snr: float, rng: np.random.Generator) -> np.ndarray:
    """Add white Gaussian noise at a signal-to-noise ratio, as the database's paper did.

    Parameters
    ----------
    gray
        uint8, shape (height, width).
    snr
        Decibels: 10 log10 of the mean square of the gray values over the variance of the noise.
    """
    values = gray.astype(np.float32)
    deviation = np.sqrt(np.mean(values**2) / 10 ** (snr / 10))
    noisy = values + rng.normal(0, deviation, gray.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _sensor_noise(values, amount, rng):
    """Shot noise, which grows with the square root of the intensity, and read noise."""
    deviation = amount * (8 + 24 * np.sqrt(values / 255))
    return values + deviation * rng.standard_normal(values.shape)


def _defocus(values, amount, rng):
    return ndimage.gaussian_filter(values, 3.0 * amount * _scale(values), mode="reflect")


def _motion_blur(values, amount, rng):
    """Average along a line at a random angle."""
    length = 15 * amount * _scale(values)
    half = max(int(np.ceil(length / 2)), 1)
    angle = rng.uniform(0, np.pi)
    rows, columns = np.mgrid[-half : half + 1, -half : half + 1]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = columns * np.sin(angle) - rows * np.cos(angle)
    kernel = np.clip(1 - abs(across), 0, 1) * np.clip(length / 2 + 0.5 - abs(along), 0, 1)
    padded = np.pad(values, half, mode="symmetric")
    return signal.fftconvolve(padded, (kernel / kernel.sum()).astype(np.float32), mode="valid")


def _uneven_light(values, amount, rng):
    """Illumination that falls off towards a random side."""
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in values.shape)
    slope = np.cos(angle) * columns[np.newaxis] + np.sin(angle) * rows[:, np.newaxis]
    return values * np.exp(0.9 * amount * slope)


def _brightness(values, amount, rng):
    return values + rng.choice((-1, 1)) * 90 * amount


def _contrast(values, amount, rng):
    mean = values.mean()
    return mean + (values - mean) * (1 - 0.85 * amount)


def _gamma(values, amount, rng):
    return 255 * (values / 255) ** np.exp(rng.choice((-1, 1)) * 1.1 * amount)


def _jpeg(values, amount, rng):
    file = io.BytesIO()
    image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=round(92 - 84 * amount))
    return np.asarray(Image.open(file), np.float32)


def _low_resolution(values, amount, rng):
    image = Image.fromarray(values)
    small = [max(round(side / (1 + 4 * amount)), 8) for side in image.size]
    coarse = image.resize(small, Image.Resampling.BOX)
    return np.asarray(coarse.resize(image.size, Image.Resampling.BILINEAR))


def _salt_and_pepper(values, amount, rng):
    draws = rng.random(values.shape)
    share = 0.08 * amount
    return np.where(draws < share / 2, 0, np.where(draws > 1 - share / 2, 255, values))


def _stripes(values, amount, rng):
    """Pixels of a line camera with unequal offsets."""
    return values + 30 * amount * rng.standard_normal((1, values.shape[1]))


def _glare(values, amount, rng):
    """A bright reflection at a random place."""
    rows, columns = (np.linspace(0, 1, side) for side in values.shape)
    top, left = rng.uniform(0, 1, 2)
    distance = (rows[:, np.newaxis] - top) ** 2 + (columns[np.newaxis] - left) ** 2
    return values + 180 * amount * np.exp(-distance / 0.06)


def _dust(values, amount, rng):
    """Dark specks on the lens, out of focus."""
    rows, columns = (np.linspace(0, 1, side) for side in values.shape)
    shadow = np.zeros_like(values)
    for top, left, radius in rng.uniform((0, 0, 0.02), (1, 1, 0.07), (6, 3)):
        distance = (rows[:, np.newaxis] - top) ** 2 + (columns[np.newaxis] - left) ** 2
        shadow = np.maximum(shadow, np.exp(-distance / (2 * radius**2)))
    return values * (1 - 0.6 * amount * shadow)


def _jitter(values, amount, rng):
    """Lines of a line camera, shifted sideways by vibration."""
    lines = len(values)
    shifts = ndimage.gaussian_filter1d(rng.standard_normal(lines), 2, mode="wrap")
    shifts *= 6 * amount * _scale(values) / shifts.std()
    columns = np.arange(values.shape[1])
    rows = np.broadcast_to(np.arange(lines)[:, np.newaxis], values.shape)
    shifted = columns[np.newaxis] + shifts[:, np.newaxis]
    return ndimage.map_coordinates(values, (rows, shifted), order=1, mode="reflect")


def _elastic(values, amount, rng):
    """A smooth random field of displacements: elastic deformation (Simard et al., ICDAR 2003)."""
    width = rng.uniform(2, 10) * _scale(values)
    fields = rng.standard_normal((2, *values.shape))
    fields = ndimage.gaussian_filter(fields, (0, width, width), mode="wrap")
    fields *= 6 * amount * _scale(values) / fields.std()
    places = np.indices(values.shape) + fields
    return ndimage.map_coordinates(values, places, order=1, mode="reflect")


def _overlay(values, amount, rng):
    """A drawn texture added or multiplied, after PixMix (Hendrycks et al., CVPR 2022)."""
    height, width = values.shape
    texture = draw_outlier(max(height, width), rng)[:height, :width].astype(np.float32)
    texture = amount * (texture - texture.mean()) / 128
    return values + 64 * texture if rng.random() < 0.5 else values * np.exp(0.8 * texture)


def _quantization(values, amount, rng):
    """Fewer bits a pixel: from 6 down to 3."""
    step = 256 / 2 ** (7 - 4 * amount)
    return (np.floor(values / step) + 0.5) * step


def _scale(values) -> float:
    return max(values.shape) / SIDE


TRAINING = {
    "sensor_noise": _sensor_noise,
    "defocus": _defocus,
    "motion_blur": _motion_blur,
    "uneven_light": _uneven_light,
    "brightness": _brightness,
    "contrast": _contrast,
    "gamma": _gamma,
    "jpeg": _jpeg,
    "low_resolution": _low_resolution,
    "salt_and_pepper": _salt_and_pepper,
    "stripes": _stripes,
}
HELD_OUT = {"glare": _glare, "dust": _dust, "jitter": _jitter, "quantization": _quantization}
FAMILIES = TRAINING | HELD_OUT  # that robustness is measured on
AUGMENTATION = {"elastic": _elastic, "overlay": _overlay}  # of training beside `TRAINING`
LIKELY = (*TRAINING, "elastic")  # of copies for a review policy: bent ones too, none overlaid
