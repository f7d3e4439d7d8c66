"""What a model says of one image, and the row that every table has of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import runs
from nbutils.data.labels import NO_DEFECT
from nbutils.inference.defects import Defect

NO_POLICY = (f"the model has no thresholds to review it by: run {runs.WRITTEN_BY[runs.REVIEW]}",)
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
SEPARATOR = "; "  # between the reasons, and the members of a prediction set, of a row
N_DEFECTS = "defects"  # column of `inspections.csv`: rows that an image has in `defects.csv`
DEFECT_COLUMNS = ("path", "label", "confidence", "xmin", "ymin", "xmax", "ymax", "area")


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one image."""

    probabilities: dict[str, float]  # by class name, sum 1
    novelty: float = np.nan  # mostly below 1 for images like those of training; higher for others
    prediction_set: tuple[str, ...] = ()  # has the true class 95 times in 100; none if empty
    reasons: tuple[str, ...] = NO_POLICY  # why a person should review it, strongest first
    risk: float = 1.0  # estimated probability that accepting it is a mistake
    defect_map: np.ndarray | None = None  # float32 (rows, columns, classes) in [0, 1]
    defects: tuple[Defect, ...] = ()  # surest first
    is_empty: bool = False  # the map shows no defect
    peak: float = 0.0  # of the map of an image in windows, in [0, 1]
    is_novel: bool = False  # unlike the training images
    is_degraded: bool = False  # reviewed, and of a quality that training never had

    @property
    def label(self) -> str:
        """The most probable class, or `NO_DEFECT`."""
        if self.is_empty:
            return NO_DEFECT
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The probability of that class, in [0, 1]; without a defect, how empty the map is."""
        if self.is_empty:
            return 1 - self.peak
        return self.probabilities[self.label]

    @property
    def decision(self) -> str:
        """`accept`, or `review` where there is a reason to."""
        return "review" if self.reasons else "accept"

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, highest first.

        `NO_DEFECT` alone where the map is empty: the classes are then those of a window without it.
        """
        if self.is_empty:
            return [(self.label, self.confidence)]
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    def to_row(self, path: str | Path, label: str = "") -> dict[str, Any]:
        """Return the row that every table has of an image, with its true class if that is known.

        Its keys are `row_columns`.
        """
        return {
            "path": str(path),
            "label": label,
            "predicted": self.label,
            "confidence": self.confidence,
            "decision": self.decision,
            "reasons": SEPARATOR.join(self.reasons),
            "novelty": self.novelty,
            "risk": self.risk,
            "prediction_set": SEPARATOR.join(self.prediction_set),
            **{f"p_{name}": value for name, value in self.probabilities.items()},
            "error": "",
        }

    def defect_rows(self, path: str) -> list[dict[str, Any]]:
        """Return a row a defect, surest first; boxes in pixels of the file, areas in their squares.

        Its keys are `DEFECT_COLUMNS`.
        """
        return [{"path": path, **vars(defect), "area": defect.area} for defect in self.defects]


def row_columns(classes: Iterable[str]) -> list[str]:
    """Return the columns of `Prediction.to_row`."""
    facts = ["path", "label", "predicted", "confidence", "decision", "reasons", "novelty", "risk"]
    return [*facts, "prediction_set", *(f"p_{name}" for name in classes), "error"]


def no_formula(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would take for a formula (OWASP)."""
    is_formula = isinstance(value, str) and value.startswith(FORMULA_STARTS)
    return f"'{value}" if is_formula else value


def error_row(path: str | Path, error: str, classes: Iterable[str]) -> dict[str, str]:
    """Return the row of an image that could not be read."""
    return dict.fromkeys(row_columns(classes), "") | {"path": str(path), "error": error}
