"""Has what the camera shows changed? A batch held against the images that a model learned from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import disk, runs
from nbutils.artefacts import damaged, digested, read_arrays
from nbutils.uncertainty.calibration import EPSILON
from nbutils.uncertainty.novelty import consecutive_folds

N_DIRECTIONS = 8  # of the embedding, those along which training images vary most
LEAST_VARIATION = 1e-4  # of a direction, beside the first
IMAGE_STATISTICS = ("brightness", "contrast", "sharpness")
DIRECTIONS = tuple(f"direction_{number}" for number in range(1, N_DIRECTIONS + 1))
PER_IMAGE = (*IMAGE_STATISTICS, *DIRECTIONS)  # descriptors beside novelty
DESCRIPTORS = (*PER_IMAGE, "novelty")  # that a batch is tested by
APPEARANCE = "texture"  # as the network describes it: all directions together
COMPARED = {  # what is lower and what is higher, in words
    "brightness": ("are darker", "are brighter"),
    "contrast": ("have less contrast", "have more contrast"),
    "sharpness": ("are less sharp", "are sharper or noisier"),
    "novelty": ("are less novel", "are more novel"),
    APPEARANCE: ("have another texture", "have another texture"),
}
MIN_IMAGES = 20  # that a batch can be tested by
FALSE_ALARM_RATE = 0.03  # share of batches without drift that may pass the limit
BATCH_SIZE = 200  # images of a batch that the limit is set by
N_DRAWS = 2000  # of such batches


@dataclass(frozen=True)
class ReferenceStatistics:
    """How training images are described, by class."""

    axes: np.ndarray  # (dimensions, N_DIRECTIONS)
    classes: np.ndarray  # names
    means: np.ndarray  # (classes, descriptors)
    deviations: np.ndarray  # (classes, descriptors)
    between: np.ndarray  # (descriptors,), variance of the means of strips, in deviations
    limit: float  # of the statistic

    def save(self, model: Path) -> None:
        """Write `drift.npz` into a model's folder."""
        file = model / runs.DRIFT
        with digested(file), disk.atomic_write(file) as tmp:
            np.savez_compressed(tmp, **vars(self))


def load_reference(model: Path) -> ReferenceStatistics | None:
    """Read what `ReferenceStatistics.save` wrote; None without it, UserError if damaged."""
    file = model / runs.DRIFT
    if not file.exists():
        return None
    arrays: dict[str, Any] = read_arrays(
        file,
        {
            "axes": "da",
            "classes": "text: c",
            "means": "cx",
            "deviations": "cx",
            "between": "x",
            "limit": "",
        },
    )
    shape = arrays["axes"].shape[1], len(arrays["between"])
    if shape != (N_DIRECTIONS, len(DESCRIPTORS)) or not (arrays["deviations"] > 0).all():
        raise damaged(file, "its descriptors are others than those of this version")
    return ReferenceStatistics(**arrays)


def project(embeddings: np.ndarray, reference: ReferenceStatistics | None) -> np.ndarray:
    """Return where embeddings lie along the reference's directions: (images, N_DIRECTIONS)."""
    if reference is None or not len(embeddings):
        return np.full((len(embeddings), N_DIRECTIONS), np.nan)
    return embeddings @ reference.axes


def fit_reference(
    statistics: np.ndarray,
    embeddings: np.ndarray,
    novelty: np.ndarray,
    y: np.ndarray,
    classes: Sequence[str],
    seed: int,
) -> ReferenceStatistics:
    """Describe images in the order that they were taken, so that strips stay together.

    Consecutive images are held out in turn, as new strips would be, and described by the others.
    Batches drawn from them, one fold of each class, set the limit. Confidence is no descriptor:
    a model is surer of the images it was trained on than of new ones.

    Parameters
    ----------
    statistics
        `images.image_statistics` of training and validation images: (images, 3).
    embeddings
        Of the same images: (images, dimensions).
    novelty
        Their `novelty.relative_distances`, each held out.
    y, classes
        Class numbers (int), and the names of the classes.
    seed
        Of the draws.
    """
    axes = _principal_axes(embeddings, y)
    values = log_of_novelty(np.column_stack([statistics, embeddings @ axes, novelty]))
    standardized, fold = _standardize_held_out(values, y)
    between = _variance_between(standardized, y, fold)
    null = _null_statistics(standardized, y, fold, between, seed)
    return ReferenceStatistics(
        axes=axes.astype(np.float32),
        classes=np.array(classes),
        **_moments(values, y),
        between=between,
        limit=np.quantile(null, 1 - FALSE_ALARM_RATE),
    )


@dataclass(frozen=True)
class DriftTest:
    """What `test_batch` found: one value a descriptor of `DESCRIPTORS` in each array."""

    shift: np.ndarray  # of the mean, in deviations of a class
    expected: np.ndarray  # how far that scatters without drift
    images: int
    limit: float  # of the statistic

    @property
    def statistic(self) -> float:
        """The largest of the changes."""
        return max(map(abs, self.changes().values()))

    @property
    def drifted(self) -> bool | None:
        """Whether the statistic is beyond the limit; None for too few images to tell."""
        return self.statistic > self.limit if self.images >= MIN_IMAGES else None

    def changes(self) -> dict[str, float]:
        """Return the shifts by name, as multiples of their expected scatter, with their signs.

        The directions of the embedding are one change, their root mean square: other steel moves
        one or two of them, another camera nearly all.
        """
        signed = dict(zip(DESCRIPTORS, (self.shift / self.expected).tolist(), strict=True))
        directions = [signed.pop(name) for name in DIRECTIONS]
        return signed | {APPEARANCE: float(np.sqrt(np.mean(np.square(directions))))}


def standardize(
    table: Mapping[str, Any], reference: ReferenceStatistics
) -> tuple[np.ndarray, np.ndarray]:
    """Return the descriptors of images in deviations from the class that the model named.

    Parameters
    ----------
    table
        Columns predicted and `DESCRIPTORS`, as a data frame or arrays by name.
    reference
        Of the model.

    Returns
    -------
    Values (images, descriptors), NaN for images of a class that the reference does not know; and
    class numbers, -1 for these.
    """
    numbers = {name: number for number, name in enumerate(reference.classes.tolist())}
    y = np.array([numbers.get(name, -1) for name in table["predicted"]], int)
    values = np.column_stack([np.asarray(table[name], float) for name in DESCRIPTORS])
    values = _standardize(log_of_novelty(values), y, reference.means, reference.deviations)
    values[y < 0] = np.nan
    return values, y


def test_batch(tables: Iterable[Mapping[str, Any]], reference: ReferenceStatistics) -> DriftTest:
    """Test a batch class by class, so that its mix of classes is no drift.

    Each descriptor is standardised by the class that the model named; the mean over the batch is
    held against what strips of the training images differ by among themselves, and chance. The
    statistic is the largest of the changes. Tables are parts of the batch, as of `standardize`.
    """
    total, counts = np.zeros(len(DESCRIPTORS)), np.zeros(len(reference.classes))
    for table in tables:
        values, y = standardize(table, reference)
        total += values[y >= 0].sum(axis=0)
        counts += np.bincount(y[y >= 0], minlength=len(reference.classes))
    shift, expected = _shift_and_scatter(total, counts, reference.between)
    return DriftTest(shift, expected, int(counts.sum()), float(reference.limit))


def describe(result: DriftTest) -> str:
    """Say in a sentence or two what `test_batch` found."""
    if result.drifted is None:
        few = f"{result.images} images of a class are too few to test for drift"
        return f"{few}: {MIN_IMAGES} are needed."
    if not result.drifted:
        return (
            "No drift: the batch is as like the training images as strips are "
            f"(statistic {result.statistic:.1f}, limit {result.limit:.1f})."
        )
    beyond = [each for each in result.changes().items() if abs(each[1]) > result.limit]
    beyond.sort(key=lambda change: -abs(change[1]))
    changes = [
        f"{COMPARED[name][times > 0]} ({abs(times):.1f} times the usual scatter)"
        for name, times in beyond[:3]
    ]
    return (
        f"Drift: the images {', '.join(changes)} than those of training (limit "
        f"{result.limit:.1f}). Look at camera and light, and at the review queue."
    )


def log_of_novelty(values: np.ndarray) -> np.ndarray:
    """Take the log of novelty, the last of `DESCRIPTORS`: its deviations become symmetric."""
    return np.column_stack([values[:, :-1], np.log(np.maximum(values[:, -1], EPSILON))])


def _principal_axes(embeddings: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the directions along which images of a class vary most, of unit variance each.

    Those along which they do not vary, since they are few, are zero.
    """
    labels, index = np.unique(y, return_inverse=True)
    means = np.stack([embeddings[y == label].mean(axis=0) for label in labels])
    centered = embeddings - means[index]
    scale = np.maximum(centered.std(axis=0), centered.std() / 20)
    _, singular, rows = np.linalg.svd(centered / scale, full_matrices=False)
    kept = np.flatnonzero(singular[:N_DIRECTIONS] > singular[0] * LEAST_VARIATION)
    axes = np.zeros((N_DIRECTIONS, embeddings.shape[1]))
    axes[kept] = rows[kept] / (singular[kept, np.newaxis] / np.sqrt(len(embeddings)))
    return axes.T / scale[:, np.newaxis]


def _moments(values: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    parts = [values[y == label] for label in np.unique(y)]
    least = values.std(axis=0) / 20 + EPSILON  # of a descriptor that a class holds still
    return {
        "means": np.stack([part.mean(axis=0) for part in parts]),
        "deviations": np.stack([np.maximum(part.std(axis=0), least) for part in parts]),
    }


def _standardize(values, y, means, deviations) -> np.ndarray:
    """Return descriptors in deviations from the mean of their class."""
    return (values - means[y]) / deviations[y]


def _standardize_held_out(values: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Standardise each image by the others' moments; return that, and the number of its fold."""
    standardized, fold = np.empty_like(values), consecutive_folds(y)
    for number in np.unique(fold):
        held_out = fold == number
        moments = _moments(values[~held_out], y[~held_out])
        standardized[held_out] = _standardize(values[held_out], y[held_out], **moments)
    return standardized, fold


def _variance_between(standardized: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return how much the means of folds vary, of a class on average."""
    keys = y * (fold.max() + 1) + fold
    means = np.stack([standardized[keys == key].mean(axis=0) for key in np.unique(keys)])
    return np.mean(means**2, axis=0)


def _null_statistics(standardized, y, fold, between, seed: int) -> np.ndarray:
    """Return the statistic of batches without drift: one fold of each class, drawn anew."""
    rng = np.random.default_rng(seed)
    labels, index = np.unique(y, return_inverse=True)
    statistics = np.empty(N_DRAWS)
    for draw in range(N_DRAWS):
        drawn = rng.integers(fold.max() + 1, size=len(labels))
        candidates = np.flatnonzero(fold == drawn[index])
        rows = rng.choice(candidates, BATCH_SIZE)
        counts = np.bincount(y[rows], minlength=len(labels))
        shift, expected = _shift_and_scatter(standardized[rows].sum(axis=0), counts, between)
        statistics[draw] = DriftTest(shift, expected, BATCH_SIZE, np.inf).statistic
    return statistics


def _shift_and_scatter(
    total: np.ndarray, counts: np.ndarray, between: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of a batch, and how far it scatters without drift, for each descriptor.

    Parameters
    ----------
    total
        Sum of the standardised descriptors over the images of the batch, (descriptors,).
    counts
        Images of each class.
    between
        As in `ReferenceStatistics`.
    """
    images = max(counts.sum(), 1)
    return total / images, np.sqrt(np.sum((counts / images) ** 2) * between + 1 / images)
