"""Bit depth: how many of the 16 bits in a file a camera has used, and their values as 8 bits.

Cameras of 10, 12 or 14 bits write 16-bit files, most without a word about it. One file cannot say
whether it is dark or has fewer bits; its tags can, a set of files can, and the user.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, TiffImagePlugin

from nbutils.artefacts import BIT_DEPTHS
from nbutils.data import containers
from nbutils.disk import UserError

QUANTILE = 0.99  # of the values; single bright pixels of a sensor are beyond it
STEP = 256  # least step between the values of 8 bits that were stretched to 16
MIN_IMAGES = 10  # of a set
MIN_LEVELS = 17  # different values that it is seen by: 12 bits have 16 multiples of it
PHOTOMETRIC, BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 262, 258, 281  # tags, TIFF 6.0
WHITE_IS_ZERO = 0


class BitDepthError(ValueError):
    """Why 16-bit values have no single reading, and the cure, after the file's name."""


def check(bits: int | None) -> None:
    """Raise UserError for a bit depth that cameras do not have."""
    if bits is not None and (type(bits) is not int or bits not in BIT_DEPTHS):
        known = ", ".join(map(str, BIT_DEPTHS))
        raise UserError(f"bit depth {bits} is none of a camera: choose one of {known}")


def lookup(bits: int, is_inverted: bool) -> np.ndarray:
    """Return the gray value, uint8, of each of the 65,536 values of a file of some bits."""
    white = 2**bits - 1
    gray = (np.minimum(np.arange(2**16), white) * 255 // white).astype(np.uint8)
    return 255 - gray if is_inverted else gray


def high_value(histogram: np.ndarray) -> int:
    """Return the value that `QUANTILE` of the pixels do not exceed; `histogram` counts each."""
    return int(np.searchsorted(histogram.cumsum(), QUANTILE * histogram.sum()))


def is_full(histogram: np.ndarray) -> bool:
    """Tell whether values use all 16 bits: are beyond 14 of them, or 8 that were stretched."""
    return high_value(histogram) >= 2 ** BIT_DEPTHS[-2] or step(histogram) >= STEP


def step(histogram: np.ndarray) -> int:
    """Return the largest number that all values are multiples of; 1 where they are too few."""
    levels = np.flatnonzero(histogram)
    return int(np.gcd.reduce(levels)) if len(levels) >= MIN_LEVELS else 1


def choose(histogram: np.ndarray, stated: int | None, given: int | None) -> int:
    """Return the bits of a file, by what is given, what its tags state, and its values.

    Parameters
    ----------
    histogram
        Counts of the 65,536 values.
    stated
        See `stated_bits`.
    given
        What the user says, one of `BIT_DEPTHS`.

    Raises
    ------
    BitDepthError
        If there is no single reading.
    """
    high = high_value(histogram)
    if given is not None:
        check(given)
        if high >= 2**given:
            raise BitDepthError(f"has values up to {high}: {given} bits are too few, correct them")
        return given
    if stated and high < 2**stated:
        return stated
    if is_full(histogram):
        return 16
    raise BitDepthError(
        f"has 16 bits a pixel but 99 % of its values below {high + 1}: say by the bit depth "
        "(--bit-depth of predict and inspect, BIT_DEPTH of notebook 01) how many the camera has, "
        "or save it with 8"
    )


def stated_bits(image: Image.Image, data: bytes) -> int | None:
    """Return the bits that the tags of a 16-bit file state, if they are fewer than 16.

    BitsPerSample and MaxSampleValue of TIFF, where the latter is full scale (4095) and not just the
    largest value of the image; sBIT of PNG.
    """
    bits = containers.significant_bits(data)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        white = image.tag_v2.get(MAX_SAMPLE_VALUE, 0)
        white = max(white) if isinstance(white, tuple) else white
        is_full_scale = white > 0 and white & (white + 1) == 0
        bits = white.bit_length() if is_full_scale else image.tag_v2[BITS_PER_SAMPLE][0]
    return bits if bits and 8 < bits < 16 else None


def is_inverted(image: Image.Image) -> bool:
    """Tell whether 0 is white in a 16-bit file, which Pillow passes over."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return tags.get(PHOTOMETRIC) == WHITE_IS_ZERO


def of_set(histograms: Sequence[np.ndarray]) -> int | None:
    """Return the bits of the camera that took these 16-bit images, None where they are too few."""
    if len(histograms) < MIN_IMAGES:
        return None
    high = max(map(high_value, histograms))
    return next(bits for bits in BIT_DEPTHS if high < 2**bits)


def describe(bits: int) -> str:
    """Say what `of_set` has decided."""
    return f"16-bit files are read as of {bits} bits, by their values (else --bit-depth)"
