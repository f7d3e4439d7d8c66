"""Stretches of a batch: images one after another that are degraded alike, said once."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nbutils.uncertainty.drift import IMAGE_STATISTICS

WINDOW = 31  # images whose median is taken
MIN_IMAGES = 20  # of a stretch
MIN_RATIO = 4.0  # of a median to its expected scatter; about 3 at most on unchanged images
MEDIAN_VARIANCE = np.pi / 2  # of the median of normal values, times their number
BLOCK = 8192  # images whose windows are held at once
DEGRADED = {  # lower, higher
    "brightness": ("darker than in training", "brighter than in training"),
    "contrast": ("flat, of low contrast", "unevenly or harshly lit"),
    "sharpness": ("out of focus", "noisy or too sharp"),
}


@dataclass(frozen=True)
class Stretch:
    """Images one after another that differ from those of training in one way."""

    change: str  # in words
    first: int  # position of the first image
    last: int  # of the last image
    ratio: float  # median of the largest ratios to the expected scatter

    def __len__(self) -> int:
        """Return how many images it has."""
        return self.last - self.first + 1


def find(values: np.ndarray, y: np.ndarray, between: np.ndarray) -> list[Stretch]:
    """Find stretches whose rolling median is far from the training images.

    A median is held against what strips of the training images differ by and chance, as in
    `drift.test_batch`: images of one class scatter together, those of several less. Of stretches
    that cover each other by half, the one that differs most is kept.

    Parameters
    ----------
    values
        `drift.IMAGE_STATISTICS` in deviations from the predicted class, (images, 3), in the order
        that the images were taken.
    y
        Class numbers (int), as predicted.
    between
        Of `ReferenceStatistics`, for the same statistics: (3,).

    Returns
    -------
    Stretches in the order of their first images; positions count from 0.
    """
    if len(values) < MIN_IMAGES:
        return []
    expected = np.sqrt(np.outer(_same_class(y), between) + MEDIAN_VARIANCE / WINDOW)
    ratios = _rolling_median(values) / expected
    found = [
        Stretch(DEGRADED[name][sign > 0], first, last, float(np.median(side[first : last + 1])))
        for name, column in zip(IMAGE_STATISTICS, ratios.T, strict=True)
        for sign in (-1, 1)
        for side in (sign * column,)
        for first, last in _runs(side > MIN_RATIO)
    ]
    kept: list[Stretch] = []
    for stretch in sorted(found, key=lambda each: -each.ratio):
        if not any(_covered(stretch, other) for other in kept):
            kept.append(stretch)
    return sorted(kept, key=lambda each: each.first)


def _rolling_median(values: np.ndarray) -> np.ndarray:
    """Return the median around each image; the ends are mirrored."""
    half = WINDOW // 2
    padded = np.pad(values, ((half, half), (0, 0)), mode="reflect")
    blocks = [padded[at : at + BLOCK + 2 * half] for at in range(0, len(values), BLOCK)]
    windows = (np.lib.stride_tricks.sliding_window_view(each, WINDOW, axis=0) for each in blocks)
    return np.concatenate([np.median(each, axis=-1) for each in windows])


def _same_class(y: np.ndarray) -> np.ndarray:
    """Return how likely two images around each image are of one class: 1 if all are."""
    half = WINDOW // 2
    padded = np.pad(y, half, mode="reflect")
    total = np.zeros(len(y))
    for label in np.unique(y):
        counts = np.concatenate([[0], np.cumsum(padded == label)])
        total += ((counts[WINDOW:] - counts[:-WINDOW]) / WINDOW) ** 2
    return total


def _runs(beyond: np.ndarray) -> Iterator[tuple[int, int]]:
    """Return the first and the last of runs of True, joined where less than a window parts them."""
    at = np.flatnonzero(beyond)
    if not len(at):
        return
    for run in np.split(at, np.flatnonzero(np.diff(at) > WINDOW) + 1):
        if len(run) >= MIN_IMAGES:
            yield int(run[0]), int(run[-1])


def _covered(stretch: Stretch, other: Stretch) -> bool:
    """Tell whether half of a stretch lies in another."""
    common = min(stretch.last, other.last) - max(stretch.first, other.first) + 1
    return common > len(stretch) / 2
