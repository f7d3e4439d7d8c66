"""Has what the camera shows changed? A batch held against the images that a model learned from."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import paths
from nbutils.paths import UserError
from nbutils.trust import TINY

FILE = "drift.npz"  # beside a run's model
DIRECTIONS = 8  # of the embedding, those along which training images vary most
LIGHT = ("brightness", "contrast", "sharpness")
DESCRIBED = (*LIGHT, *(f"direction_{at}" for at in range(1, DIRECTIONS + 1)))  # of each image
DESCRIPTORS = (*DESCRIBED, "novelty", "confidence")  # that a batch is tested by
FEWEST = 20  # images that a batch can be tested by


@dataclass(frozen=True)
class Usual:
    """How training images are described, by class."""

    axes: np.ndarray  # (dimensions, DIRECTIONS)
    classes: np.ndarray  # names
    means: np.ndarray  # (classes, descriptors)
    deviations: np.ndarray  # (classes, descriptors)
    between: np.ndarray  # (descriptors,), variance of the means of strips, in deviations
    limit: float  # of the statistic

    def save(self, run: Path) -> None:
        """Write `drift.npz` beside a run's model."""
        with paths.replacing(run / FILE) as beside:
            np.savez_compressed(beside, **vars(self))


def load(run: Path) -> Usual | None:
    """Read what `Usual.save` wrote; None where there is nothing, UserError where it is damaged."""
    if not (run / FILE).exists():
        return None
    try:
        with np.load(run / FILE) as arrays:
            return Usual(**{name: arrays[name] for name in Usual.__annotations__})
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{run / FILE} cannot be read ({error}): run 02_training again") from error


def light(square: np.ndarray) -> tuple[float, float, float]:
    """Return brightness and contrast (mean and deviation, gray values), and sharpness.

    Sharpness is the mean step down plus the mean step to the right, over the contrast.
    """
    gray = square[..., 0].astype(np.float32)
    contrast = float(gray.std())
    steps = np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean()
    return float(gray.mean()), contrast, float(steps / max(contrast, 1.0))


def project(embeddings: np.ndarray, usual: Usual | None) -> np.ndarray:
    """Return where embeddings lie along the usual directions: (images, DIRECTIONS)."""
    if usual is None or not len(embeddings):
        return np.full((len(embeddings), DIRECTIONS), np.nan)
    return embeddings @ usual.axes


def test(tables: Iterable[pd.DataFrame], usual: Usual) -> pd.DataFrame:
    """Test a batch against what is usual, class by class, so that its mix of classes is no drift.

    Each descriptor is standardised by the class that the model named; the mean over the batch is
    held against what strips of the training images differ by among themselves, and chance. The
    statistic is the largest of these ratios.

    Parameters
    ----------
    tables
        Parts of `inspections.csv`.
    usual
        Of the model.

    Returns
    -------
    One row a descriptor: shift (mean, in deviations of a class), expected (how far it scatters
    without drift), ratio. `attrs` has images, statistic, limit, and drifted (None if there are too
    few images to tell).
    """
    total, count = np.zeros(len(DESCRIPTORS)), np.zeros(len(usual.classes))
    for table in tables:
        rows = table[table["label"].isin(usual.classes)]
        numbers = rows["label"].map(list(usual.classes).index).to_numpy(int)
        values = spread(rows[list(DESCRIPTORS)].to_numpy(float))
        total += standardised(values, numbers, usual.means, usual.deviations).sum(axis=0)
        count += np.bincount(numbers, minlength=len(usual.classes))
    shift, expected = shifts(total, count, usual.between)
    ratio = np.abs(shift) / expected
    found = pd.DataFrame(
        {"descriptor": DESCRIPTORS, "shift": shift, "expected": expected, "ratio": ratio}
    )
    statistic, limit = float(found["ratio"].max()), float(usual.limit)
    drifted = statistic > limit if count.sum() >= FEWEST else None
    found.attrs = {"images": int(count.sum()), "statistic": statistic, "limit": limit,
                   "drifted": drifted}  # fmt: skip
    return found


def spread(values: np.ndarray) -> np.ndarray:
    """Stretch novelty and confidence, the last of `DESCRIPTORS`, to where deviations mean a lot."""
    novelty = np.log(np.maximum(values[:, -2], TINY))
    doubt = np.clip(1 - values[:, -1], 1e-4, 1 - 1e-4)
    return np.column_stack([values[:, :-2], novelty, -np.log(doubt / (1 - doubt))])


def standardised(values, numbers, means, deviations) -> np.ndarray:
    """Return descriptors in deviations from the mean of their class."""
    return (values - means[numbers]) / deviations[numbers]


def words(found: pd.DataFrame) -> str:
    """Say in a sentence or two what `test` found."""
    facts = found.attrs
    if facts["drifted"] is None:
        return f"{facts['images']} images are too few to test for drift: {FEWEST} are needed."
    numbers = f"statistic {facts['statistic']:.1f}, limit {facts['limit']:.1f}"
    if not facts["drifted"]:
        return f"No drift: the batch is as like the training images as strips are ({numbers})."
    beyond = found[found["ratio"] > facts["limit"]].sort_values("ratio", ascending=False)
    changes = ", ".join(
        f"{row.descriptor.replace('_', ' ')} {'higher' if row.shift > 0 else 'lower'} by "
        f"{row.ratio:.1f} times what is usual"
        for row in beyond.head(3).itertuples()
    )
    return f"DRIFT ({numbers}): {changes}. Look at camera and light, and at the review queue."


def shifts(
    total: np.ndarray, count: np.ndarray, between: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of a batch, and how far it scatters without drift, for each descriptor.

    Parameters
    ----------
    total
        Sum of `standardised` over the images of the batch, (descriptors,).
    count
        Images of each class.
    between
        As in `Usual`.
    """
    images = max(count.sum(), 1)
    return total / images, np.sqrt(np.sum((count / images) ** 2) * between + 1 / images)
