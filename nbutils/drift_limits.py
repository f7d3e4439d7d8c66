"""Describe the training images for `drift`, and set the limit that its statistic may reach."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold
from tqdm.auto import tqdm

from nbutils import corruptions, drift, limits
from nbutils.images import square
from nbutils.predictor import Predictor
from nbutils.trust import TINY, soften

FALSE_ALARMS = 0.01  # share of batches without drift that may pass the limit
BATCH = 200  # images of a batch that the limit is set by
DRAWS = 2000  # of such batches
CHECKED = ("defocus", "motion_blur", "uneven_light", "brightness", "gamma")  # by `alarms`
LEVELS = (1, 2, 3)  # up to a moderate change


def fit(predictor: Predictor, squares: np.ndarray, numbers: np.ndarray, seed: int) -> drift.Usual:
    """Fit what is usual to images in the order that they were taken, so that strips stay together.

    Consecutive images are held out in turn, as new strips would be, and described by the others.
    Batches drawn from them, one stretch of each class, set the limit.

    Parameters
    ----------
    predictor
        With limits.
    squares, numbers
        Training and validation images, uint8 (n, size, size, 1), and class numbers (int).
    seed
        Of the draws.
    """
    raw, embeddings = predictor.answers(squares, views=1)
    axes = _axes(embeddings, numbers)
    confidence = soften(raw, predictor.trust.limits.temperature).max(axis=1)
    novelty = limits.held_out_distances(embeddings, numbers)
    lights = np.array([drift.light(square) for square in squares])
    values = drift.spread(np.column_stack([lights, embeddings @ axes, novelty, confidence]))
    held, stretch = _held_out(values, numbers)
    between = _between(held, numbers, stretch)
    return drift.Usual(
        axes=np.float32(axes),
        classes=np.array(predictor.classes),
        **_moments(values, numbers),
        between=between,
        limit=np.quantile(_drawn(held, numbers, stretch, between, seed), 1 - FALSE_ALARMS),
    )


def _axes(embeddings: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return the directions along which images of a class vary most, of unit variance each."""
    means = np.stack([embeddings[numbers == number].mean(axis=0) for number in np.unique(numbers)])
    centred = embeddings - means[np.searchsorted(np.unique(numbers), numbers)]
    scale = np.maximum(centred.std(axis=0), centred.std() / 20)
    _, lengths, rows = np.linalg.svd(centred / scale, full_matrices=False)
    unit = lengths[: drift.DIRECTIONS, np.newaxis] / np.sqrt(len(embeddings))
    return (rows[: drift.DIRECTIONS] / unit).T / scale[:, np.newaxis]


def _moments(values: np.ndarray, numbers: np.ndarray) -> dict[str, np.ndarray]:
    parts = [values[numbers == number] for number in np.unique(numbers)]
    least = values.std(axis=0) / 20 + TINY  # of a descriptor that a class holds still
    return {
        "means": np.stack([part.mean(axis=0) for part in parts]),
        "deviations": np.stack([np.maximum(part.std(axis=0), least) for part in parts]),
    }


def _held_out(values: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise each image by the others' moments; return that, and the number of its stretch."""
    held, stretch = np.empty_like(values), np.empty(len(values), int)
    folds = StratifiedKFold(min(limits.FOLDS, np.bincount(numbers).min()))
    for number, (others, chosen) in enumerate(folds.split(values, numbers)):
        moments = _moments(values[others], numbers[others])
        held[chosen] = drift.standardised(values[chosen], numbers[chosen], **moments)
        stretch[chosen] = number
    return held, stretch


def _between(held: np.ndarray, numbers: np.ndarray, stretch: np.ndarray) -> np.ndarray:
    """Return how much the means of stretches vary, of a class on average."""
    keys = numbers * (stretch.max() + 1) + stretch
    means = np.stack([held[keys == key].mean(axis=0) for key in np.unique(keys)])
    return np.mean(means**2, axis=0)


def _drawn(held, numbers, stretch, between, seed: int) -> np.ndarray:
    """Return the statistic of batches without drift: one stretch of each class, drawn anew."""
    rng = np.random.default_rng(seed)
    classes = np.unique(numbers)
    found = np.empty(DRAWS)
    for draw in range(DRAWS):
        stretches = rng.integers(stretch.max() + 1, size=len(classes))
        among = np.flatnonzero(stretch == stretches[np.searchsorted(classes, numbers)])
        rows = rng.choice(among, BATCH)
        count = np.bincount(numbers[rows], minlength=len(classes))
        shift, expected = drift.shifts(held[rows].sum(axis=0), count, between)
        found[draw] = np.max(np.abs(shift) / expected)
    return found


def alarms(
    predictor: Predictor, usual: drift.Usual, grays: list[np.ndarray], batches: int, seed: int
) -> pd.DataFrame:
    """Count how often batches of images raise an alarm, as they are and corrupted.

    Parameters
    ----------
    predictor, usual
        The model, and what `fit` found for it.
    grays
        Images that took no part in that, uint8 (height, width).
    batches
        Drawn of each kind, of `BATCH` images (or as many as there are).
    seed
        Of corruptions and draws.

    Returns
    -------
    One row for each kind: family, level, alarms (share of batches), statistic (median).
    """
    rng = np.random.default_rng(seed)
    kinds = [("none", 0), *((family, level) for family in CHECKED for level in LEVELS)]
    rows = []
    for family, level in tqdm(kinds, desc="Trying the alarm", unit="kind", leave=False):
        table = described(predictor, usual, [_changed(gray, family, level, rng) for gray in grays])
        count = min(BATCH, len(table))
        drawn = [rng.choice(len(table), count, replace=False) for _ in range(batches)]
        found = [drift.test([table.iloc[chosen]], usual).attrs for chosen in drawn]
        rows.append({
            "family": family,
            "level": level,
            "alarms": np.mean([bool(one["drifted"]) for one in found]),
            "statistic": np.median([one["statistic"] for one in found]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _changed(gray: np.ndarray, family: str, level: int, rng) -> np.ndarray:
    return corruptions.corrupt(gray, family, level, rng) if level else gray


def described(predictor: Predictor, usual: drift.Usual, grays: list[np.ndarray]) -> pd.DataFrame:
    """Return the descriptors of images, uint8 (height, width), with the class that is named."""
    squares = [square(gray, predictor.size) for gray in grays]
    raw, embeddings = predictor.answers(squares)
    lights = np.array([drift.light(one) for one in squares])
    told = predictor.told(raw, embeddings)
    doubts = [(one.novelty, one.confidence) for one in told]
    values = np.hstack([lights, drift.project(embeddings, usual), doubts])
    table = pd.DataFrame(values, columns=drift.DESCRIPTORS)
    return table.assign(label=[one.label for one in told])
