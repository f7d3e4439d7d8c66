"""Sets of classes that hold the true one at a promised rate.

The promise: for images drawn like those of calibration, the set misses the true class no more
often than stated. Sadinle, Lei and Wasserman, JASA 114, 2019 (least ambiguous sets).
"""

import numpy as np
import pandas as pd

LEVELS = (90, 95, 99)  # per cent


def floors(probabilities: np.ndarray, numbers: np.ndarray) -> dict[str, float]:
    """Return the probability from which a class belongs into the set, for each of `LEVELS`.

    Parameters
    ----------
    probabilities, numbers
        Of the images of calibration: (images, classes), and class numbers (int).

    Returns
    -------
    By the level in per cent, as `trust.Limits` holds them.
    """
    true = np.sort(probabilities[np.arange(len(numbers)), numbers])
    misses = {level: int((len(numbers) + 1) * (1 - level / 100)) for level in LEVELS}
    return {str(level): float(true[count - 1]) if count else 0.0 for level, count in misses.items()}


def coverage(members: np.ndarray, numbers: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Count how often sets hold the true class, overall and by class.

    Returns
    -------
    Index `class`, `all` and each class; count (images), coverage (share), size (mean number of
    classes).
    """
    held, size = members[np.arange(len(numbers)), numbers], members.sum(axis=1)
    table = pd.DataFrame({"held": held, "size": size, "label": np.array(classes)[numbers]})
    whole = table.assign(label="all")
    grouped = pd.concat([whole, table]).groupby("label", sort=False)
    found = grouped.agg(count=("held", "size"), coverage=("held", "mean"), size=("size", "mean"))
    return found.loc[["all", *classes]].rename_axis("class")
