"""Accept a prediction, or have a person review it: thresholds, reasons in words, and costs."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbutils import disk, runs
from nbutils.artefacts import check_digest, damaged, digested, read_arrays, read_number
from nbutils.data.images import BLANK_RANGE, image_statistics
from nbutils.disk import UserError
from nbutils.uncertainty.calibration import (
    EPSILON,
    MAX_DISTANCE_WEIGHT,
    temperature_scale,
    weigh_by_distance,
)
from nbutils.uncertainty.conformal import DEFAULT_COVERAGE, prediction_sets
from nbutils.uncertainty.drift import IMAGE_STATISTICS
from nbutils.uncertainty.novelty import ClassGaussians, relative_distances
from nbutils.uncertainty.stretches import DEGRADED

if TYPE_CHECKING:
    import pandas as pd

OUTLIER = "outlier_"  # begins the names of those of outliers
OF_CLASSES = {"centers": "cd", "whitening": "cdd"}  # arrays of `novelty.npz`, and their axes
OF_OUTLIERS = {f"{OUTLIER}centers": "od", f"{OUTLIER}whitening": "odd"}
ACCEPT_NONE = 1.01  # threshold of confidence that no prediction reaches
LARGE = 1e9  # beyond any threshold
BEYOND = 0.002  # share of the training images that count as degraded, at each end


@dataclass(frozen=True)
class Thresholds:
    """What `review.json` holds: thresholds of review, and what calibrates the probabilities."""

    temperature: float  # divides the logits
    conformal: dict[str, float]  # coverage in per cent -> least probability in a prediction set
    confidence: float  # below it, a person reviews
    novelty: float  # above it, a person reviews
    quality: dict[str, list[float]] = field(default_factory=dict)  # lowest and highest in training
    distance_weight: float = 0.0  # exponent of the distances to the classes


@dataclass(frozen=True)
class ReviewCosts:
    """What mistakes and reviews cost, in one unit, and how many false alarms of novelty may be.

    Raises UserError for a value that cannot be.
    """

    false_accept: float  # a wrong answer that nobody looks at
    review: float  # a look by a person
    false_alarm_rate: float  # share of images like those of training that may count as novel

    def __post_init__(self):
        """Refuse what cannot be."""
        if min(self.false_accept, self.review) <= 0:
            raise UserError(
                f"FALSE_ACCEPT_COST {self.false_accept}, REVIEW_COST {self.review}: "
                "give more than 0"
            )
        if not 0 <= self.false_alarm_rate < 1:
            raise UserError(
                f"FALSE_ALARM_RATE {self.false_alarm_rate}: give 0 or more, less than 1"
            )


@dataclass(frozen=True)
class Assessment:
    """What a `ReviewPolicy` makes of a network's output; one entry an image in each."""

    probabilities: np.ndarray  # calibrated, (images, classes)
    novelty: np.ndarray  # (images,)
    prediction_sets: np.ndarray  # bool (images, classes)
    is_novel: np.ndarray  # bool (images,)
    risk: np.ndarray  # of accepting it, in [0, 1] (images,)
    reasons: list[tuple[str, ...]]  # to review, in words, strongest first; none to accept
    degraded: list[tuple[str, ...]]  # of those to review, what is wrong with the picture


@dataclass(frozen=True)
class ReviewPolicy:
    """Thresholds, and the images that novelty is measured from."""

    thresholds: Thresholds
    gaussians: ClassGaussians  # of training images
    outliers: ClassGaussians  # one, of drawn images of no class

    def assess(
        self,
        probabilities: np.ndarray,
        embeddings: np.ndarray,
        images: Iterable[np.ndarray] = (),
    ) -> Assessment:
        """Calibrate a network's output (`Predictor.forward`) and find reasons to review it.

        With the images as the network saw them, uint8 (size, size, 1), the pictures are assessed,
        too.
        """
        weighed, distances = self.weigh(probabilities, embeddings)
        calibrated = temperature_scale(weighed, self.thresholds.temperature)
        novelty = self.novelty(distances, embeddings)
        sets = prediction_sets(calibrated, self.thresholds.conformal[DEFAULT_COVERAGE])
        confidence = calibrated.max(axis=1)
        is_novel = ~(novelty <= self.thresholds.novelty)
        risk = np.where(is_novel | ~np.isfinite(confidence), 1.0, 1 - confidence)
        reasons = [self._reasons(*pair) for pair in zip(confidence, novelty, strict=True)]
        degraded: list[tuple[str, ...]] = [()] * len(reasons)
        for index, image in enumerate(images):
            if (gray_range := int(np.ptp(image))) < BLANK_RANGE:
                reasons[index] += (f"the picture is blank: its gray values span {gray_range}",)
                risk[index] = 1.0
            if reasons[index]:
                degraded[index] = self._describe_quality(image)
        return Assessment(calibrated, novelty, sets, is_novel, risk, reasons, degraded)

    def weigh(
        self, probabilities: np.ndarray, embeddings: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what the temperature calibrates, and the distances to the classes.

        Probabilities and distances, (images, classes) each.
        """
        distances = self.gaussians.class_distances(embeddings)
        weight = self.thresholds.distance_weight
        return weigh_by_distance(probabilities, distances, weight), distances

    def novelty(self, distances: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """Return the novelty of images by their distances to the classes (`weigh`): (images,)."""
        return relative_distances(distances, self.outliers.distances(embeddings))

    def _describe_quality(self, image: np.ndarray) -> tuple[str, ...]:
        """Say what is wrong with a picture, uint8 (size, size, 1); empty if nothing."""
        measured = dict(zip(IMAGE_STATISTICS, image_statistics(image), strict=True))
        words = []
        for name, (low, high) in self.thresholds.quality.items():
            if not low <= measured[name] <= high:
                change = DEGRADED[name][measured[name] > high]
                words.append(
                    f"the picture is {change}: {name} {measured[name]:.3g}, "
                    f"in training {low:.3g} to {high:.3g}"
                )
        return tuple(words)

    def save(self, model: Path) -> None:
        """Write `review.json` and, in half precision, `novelty.npz` into a model's folder."""
        halves = {
            name: getattr(gaussians, name.removeprefix(OUTLIER)).astype(np.float16)
            for gaussians, names in ((self.gaussians, OF_CLASSES), (self.outliers, OF_OUTLIERS))
            for name in names
        }
        with digested(model / runs.NOVELTY, model / runs.REVIEW):
            with disk.atomic_write(model / runs.NOVELTY) as tmp:
                np.savez_compressed(tmp, **halves)
            runs.write_json(asdict(self.thresholds), model / runs.REVIEW)

    def _reasons(self, confidence: float, novelty: float) -> tuple[str, ...]:
        if not np.isfinite([confidence, novelty]).all():
            return ("the network's output is not a number",)
        reasons = []
        if novelty > self.thresholds.novelty:
            limit = f"limit {self.thresholds.novelty:.2f}"
            reasons.append(f"unlike the training images: novelty {novelty:.2f}, {limit}")
        if self.thresholds.confidence > 1:
            reasons.append("at its costs, no answer of this model is worth accepting")
        elif confidence < self.thresholds.confidence:
            reasons.append(f"confidence {confidence:.1%} is below {self.thresholds.confidence:.1%}")
        return tuple(reasons)


def load_policy(model: Path) -> ReviewPolicy | None:
    """Read what `ReviewPolicy.save` wrote; None where there is nothing, UserError if damaged."""
    file = model / runs.REVIEW
    if not file.exists():
        return None
    check_digest(file)
    settings = {"distance_weight": 0.0, **runs.read_json(file)}
    conformal = settings.get("conformal")
    if not isinstance(conformal, dict) or DEFAULT_COVERAGE not in conformal:
        raise damaged(file, f"conformal lacks the coverage {DEFAULT_COVERAGE}")
    thresholds = Thresholds(
        read_number(settings, "temperature", EPSILON, LARGE, file),
        {coverage: read_number(conformal, coverage, 0, 1, file) for coverage in conformal},
        read_number(settings, "confidence", 0, ACCEPT_NONE, file),
        read_number(settings, "novelty", 0, LARGE, file),
        _read_quality(settings.get("quality", {}), file),
        read_number(settings, "distance_weight", 0, MAX_DISTANCE_WEIGHT, file),
    )
    arrays = read_arrays(model / runs.NOVELTY, OF_CLASSES | OF_OUTLIERS)
    if len(arrays[f"{OUTLIER}centers"]) != 1:
        raise damaged(model / runs.NOVELTY, "outliers have one center")
    floats = {name: array.astype(np.float32) for name, array in arrays.items()}
    of_classes, of_outliers = (
        ClassGaussians(*(floats[name] for name in names)) for names in (OF_CLASSES, OF_OUTLIERS)
    )
    return ReviewPolicy(thresholds, of_classes, of_outliers)


def quality_ranges(statistics: np.ndarray) -> dict[str, list[float]]:
    """Return lowest and highest of each of `drift.IMAGE_STATISTICS`, (images, 3), of a training.

    Beyond them lie `BEYOND` of the images at each end.
    """
    ends = np.quantile(statistics, [BEYOND, 1 - BEYOND], axis=0).T
    return dict(zip(IMAGE_STATISTICS, ends.tolist(), strict=True))


def _read_quality(quality: Any, file: Path) -> dict[str, list[float]]:
    if not isinstance(quality, dict) or not set(quality) <= set(IMAGE_STATISTICS):
        raise damaged(file, f"quality is {quality!r:.40}")
    ranges = {}
    for name, ends in quality.items():
        if not isinstance(ends, list) or len(ends) != 2:
            raise damaged(file, f"quality of {name} is {ends!r:.40}")
        named = dict(zip(("low", "high"), ends, strict=True))
        ranges[name] = [read_number(named, end, -LARGE, LARGE, file) for end in named]
    return ranges


def risk_coverage(probabilities: np.ndarray, y: np.ndarray) -> "pd.DataFrame":
    """Count what goes wrong if only the surest answers are accepted.

    Geifman and El-Yaniv, NeurIPS 2017 (arXiv:1705.08500).

    Parameters
    ----------
    probabilities, y
        Calibrated probabilities (images, classes), and class numbers (int).

    Returns
    -------
    One row for each confidence that occurs, highest first: confidence, accepted (answers at least
    that sure), errors among them, coverage and risk (shares).
    """
    import pandas as pd

    table = pd.DataFrame(
        {
            "confidence": probabilities.max(axis=1),
            "errors": probabilities.argmax(axis=1) != y,
        }
    )
    counts = table.groupby("confidence")["errors"].agg(["size", "sum"])[::-1].cumsum()
    counts = counts.reset_index().set_axis(["confidence", "accepted", "errors"], axis=1)
    return counts.assign(
        coverage=counts["accepted"] / len(table), risk=counts["errors"] / counts["accepted"]
    )


def expected_cost(probabilities: np.ndarray, y: np.ndarray, costs: ReviewCosts) -> "pd.DataFrame":
    """Return what each threshold of confidence would cost.

    Parameters
    ----------
    probabilities, y
        As in `risk_coverage`.

    Returns
    -------
    The table of `risk_coverage` after a row that accepts none (`ACCEPT_NONE`), with cost: that of
    false accepts and of reviews, an image.
    """
    import pandas as pd

    none = pd.DataFrame({"confidence": [ACCEPT_NONE], "accepted": 0, "errors": 0})
    none = none.assign(coverage=0.0, risk=0.0)
    table = pd.concat([none, risk_coverage(probabilities, y)], ignore_index=True)
    reviewed = len(y) - table["accepted"]
    total = costs.false_accept * table["errors"] + costs.review * reviewed
    return table.assign(cost=total / len(y))


def optimal_threshold(curve: "pd.DataFrame") -> float:
    """Return the confidence to review below that costs least, of an `expected_cost` table."""
    return float(curve["confidence"].to_numpy()[curve["cost"].to_numpy().argmin()])
