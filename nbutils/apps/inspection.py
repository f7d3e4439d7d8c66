"""A batch inspection summed up: counts, what stands out, and the head of the review queue."""

import csv
import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import runs
from nbutils.runtime import batched
from nbutils.uncertainty import drift, stretches
from nbutils.uncertainty.drift import DriftTest
from nbutils.uncertainty.review import load_policy

CHUNK_ROWS = 5000  # of the table that are held at once
SERIOUS = 0.02  # share of the images from which on something stands out
TEXTS = {
    "path", "label", "predicted", "decision", "reasons", "prediction_set", "sha256", "error",
    "notice",
}  # fmt: skip
Row = dict[str, Any]  # of `inspections.csv`; numbers that an error leaves out are NaN


@dataclass
class Summary:
    """An inspection: its counts, the head of its review queue, its drift and its stretches."""

    max_review_rows: int  # of the queue, and of the errors
    novelty: float = math.inf  # above it an image is unlike the training images
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # by class and decision
    queue: list[Row] = field(default_factory=list)  # to review, highest risk first
    n_unlike: int = 0
    errors: list[str] = field(default_factory=list)
    n_errors: int = 0
    drift: DriftTest | None = None
    stretches: list[str] = field(default_factory=list)  # in words
    n_degraded: int = 0  # images of stretches
    n_degraded_unlike: int = 0  # of these, unlike the training images

    @property
    def n_review(self) -> int:
        """How many images a person should see."""
        return sum(row["review"] for row in self.counts.values())

    @property
    def n_images(self) -> int:
        """How many images were read."""
        return sum(sum(row.values()) for row in self.counts.values())

    @property
    def total(self) -> int:
        """How many files were inspected."""
        return self.n_images + self.n_errors

    def add(self, rows: Sequence[Row]) -> list[Row]:
        """Take in rows of the table; return those of images that were read."""
        failed = [row["error"] for row in rows if row["error"]]
        self.n_errors += len(failed)
        self.errors += failed[: self.max_review_rows - len(self.errors)]
        images = [row for row in rows if not row["error"]]
        for row in images:
            self.counts.setdefault(row["predicted"], {"accept": 0, "review": 0})
            self.counts[row["predicted"]][row["decision"]] += 1
        self.n_unlike += sum(row["novelty"] > self.novelty for row in images)
        review = [row for row in images if row["decision"] == "review"]
        self.queue = heapq.nlargest(self.max_review_rows, self.queue + review, self._doubt)
        return images

    def describe(self) -> str:
        """Say in a line what came out."""
        accepted = self.n_images - self.n_review
        text = f"{self.n_images:,} images: {accepted:,} accepted, {self.n_review:,} to review"
        return f"{text}; {self.n_errors:,} files could not be read" if self.n_errors else text

    def findings(self) -> list[str]:
        """Say what stands out: the serious, what is left to do, then what is minor."""
        of, files = f"of {self.n_images:,} images", f"of {self.total:,} files"
        total = max(self.total, 1)
        below = (
            f", {self.n_degraded_unlike:,} of them in the stretches below"
            if self.n_degraded_unlike
            else ""
        )
        found = [
            (self.n_unlike, [f"{self.n_unlike:,} {of} are unlike anything in training{below}."]),
            (self.n_errors, [f"{self.n_errors:,} {files} could not be read."]),
        ]
        found = [*sorted(found, key=lambda each: -each[0]), (self.n_degraded, self.stretches)]
        serious = [text for count, texts in found if count >= SERIOUS * total for text in texts]
        minor = [text for count, texts in found if 0 < count < SERIOUS * total for text in texts]
        drifted = self.drift is not None and self.drift.drifted
        changed = [drift.describe(self.drift)] if self.drift and drifted else []
        work = f"{self.n_review:,} {of} to review, {self.n_images - self.n_review:,} accepted."
        return [*serious, *changed, work, *minor, *self._no_drift(bool(serious))]

    def _no_drift(self, serious: bool) -> list[str]:
        """Say that nothing changed, or that only a part of the batch did."""
        if self.drift is None or self.drift.drifted:
            return []
        if serious and self.drift.drifted is False:
            return ["The batch as a whole has not drifted: what stands out is a part of it."]
        return [drift.describe(self.drift)]

    def _doubt(self, row: Row) -> tuple[float, float, float]:
        """Return what the queue is ordered by: of equal risk, the strangest first."""
        risk, novelty, confidence = row.get("risk", 1.0), row["novelty"], row["confidence"]
        strange = novelty if novelty > self.novelty else 0.0
        return (_or(risk, 1.0), strange, -_or(confidence, 0.0))


def read_rows(folder: Path) -> Iterator[Row]:
    """Read `inspections.csv` of a folder row by row."""
    file = runs.require(folder / runs.INSPECTIONS)
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
        for row in csv.DictReader(lines, restval=""):
            yield {name: value if name in TEXTS else _number(value) for name, value in row.items()}


def summarize(folder: Path, max_review_rows: int) -> Summary:
    """Sum up an inspection, with at most so many rows of its review queue and of its errors."""
    model = Path(runs.read_json(folder / runs.INSPECTION)["model"])
    policy, reference = load_policy(model), drift.load_reference(model)
    summary = Summary(max_review_rows, policy.thresholds.novelty if policy else math.inf)
    order: list[np.ndarray] = []
    tables = _tables(folder, summary, reference, order)
    if reference is None:
        deque(tables, maxlen=0)
        return summary
    summary.drift = drift.test_batch(tables, reference)
    _add_stretches(summary, np.concatenate([np.empty((0, 8)), *order]), reference)
    return summary


def _tables(
    folder: Path,
    summary: Summary,
    reference: drift.ReferenceStatistics | None,
    order: list[np.ndarray],
) -> Iterator[dict[str, Any]]:
    """Give the columns of the drift test, chunk by chunk, and what `_add_stretches` takes."""
    for numbered in batched(enumerate(read_rows(folder), 1), CHUNK_ROWS):
        summary.add([row for _, row in numbered])
        kept = [(number, row) for number, row in numbered if not row["error"]]
        names = ("predicted", *drift.DESCRIPTORS)
        table: dict[str, Any] = {name: [row[name] for _, row in kept] for name in names}
        if reference is not None and kept:
            values, y = drift.standardize(table, reference)
            facts = [
                (
                    number,
                    row["decision"] == "review",
                    row["novelty"] > summary.novelty,
                    _or(row["confidence"], 0.0),
                )
                for number, row in kept
            ]
            statistics = values[:, : len(drift.IMAGE_STATISTICS)]
            columns = np.column_stack([facts, y, statistics]).astype(np.float32)
            order.append(columns[y >= 0])
        yield table


def _add_stretches(
    summary: Summary, images: np.ndarray, reference: drift.ReferenceStatistics
) -> None:
    """Say which stretches of images are degraded alike.

    A row an image: its number in the list, whether it is reviewed, whether it is unlike the
    training images, its confidence, its class number, and its `drift.IMAGE_STATISTICS` in
    deviations from that class.
    """
    between = reference.between[: len(drift.IMAGE_STATISTICS)]
    for stretch in stretches.find(images[:, 5:], images[:, 4].astype(int), between):
        number, review, unlike, confidence = images[stretch.first : stretch.last + 1, :4].T
        place = f"from image {number[0]:,.0f} to {number[-1]:,.0f}"
        if stretch.last == len(images) - 1:
            place = f"from image {number[0]:,.0f} on" if stretch.first else "throughout"
        summary.n_degraded += len(stretch)
        summary.n_degraded_unlike += int(unlike.sum())
        summary.stretches.append(
            f"{stretch.change.capitalize()} {place}: {len(stretch):,} images with a class, "
            f"{review.sum():,.0f} to review, mean confidence {confidence.mean():.1%}."
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _or(value: float, other: float) -> float:
    """Return a value, or another for NaN."""
    return other if math.isnan(value) else value


def shares(counts: dict[str, dict[str, int]]) -> Iterable[dict[str, Any]]:
    """Return a row a class, the most frequent first: images, their share, and decisions."""
    total = max(sum(sum(row.values()) for row in counts.values()), 1)
    for label, row in sorted(counts.items(), key=lambda item: -sum(item[1].values())):
        images = sum(row.values())
        yield {"label": label, "images": images, "share": images / total, **row}
