"""Prediction sets: classes that hold the true one at a promised rate.

The promise: for images drawn like those of calibration, the set misses the true class no more
often than stated. Sadinle, Lei and Wasserman, JASA 114, 2019 (least ambiguous sets).
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COVERAGES = (90, 95, 99)  # per cent
DEFAULT_COVERAGE = "95"  # per cent, that of `Prediction.prediction_set`


def conformal_thresholds(probabilities: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the probability from which a class belongs into the set, for each of `COVERAGES`.

    It is a low quantile of the probabilities that the calibration images give to their own class:
    the one of rank floor((n + 1) (1 - coverage)), 0 where there are too few images for the promise.

    Parameters
    ----------
    probabilities, y
        Of the calibration images: (images, classes), and class numbers (int).

    Returns
    -------
    By the coverage in per cent.
    """
    true = np.sort(probabilities[np.arange(len(y)), y])
    thresholds = {}
    for coverage in COVERAGES:
        rank = int((len(y) + 1) * (1 - Fraction(coverage, 100)))
        thresholds[str(coverage)] = float(true[rank - 1]) if rank else 0.0
    return thresholds


def prediction_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Mark the classes at least as probable as a threshold, never none: (images, classes)."""
    sets = probabilities >= threshold
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def empirical_coverage(sets: np.ndarray, y: np.ndarray, classes: Sequence[str]) -> "pd.DataFrame":
    """Count how often prediction sets hold the true class, overall and by class.

    Returns
    -------
    Index `class`, `all` and each class; count (images), coverage (share), size (mean number of
    classes).
    """
    import pandas as pd

    covered, size = sets[np.arange(len(y)), y], sets.sum(axis=1)
    table = pd.DataFrame({"covered": covered, "size": size, "label": np.array(classes)[y]})
    grouped = pd.concat([table.assign(label="all"), table]).groupby("label", sort=False)
    counts = grouped.agg(
        count=("covered", "size"), coverage=("covered", "mean"), size=("size", "mean")
    )
    return counts.reindex(["all", *classes]).rename_axis("class")
