"""A session of the demo: files, what the model predicted of them, and what a person corrected."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nbutils.data import corrections
from nbutils.data.images import ImageError, decode, resize
from nbutils.inference.explain import Explainer
from nbutils.inference.predictor import Prediction, Predictor, error_row, row_columns

ORDERS = {  # name on the panel -> column and whether it ascends
    "as uploaded": ("number", True),
    "lowest confidence first": ("confidence", True),
    "highest novelty first": ("novelty", False),
    "by file name": ("path", True),
    "by class": ("predicted", True),
}
DECISIONS = ("accept", "review")
ALL = "all"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(eq=False)  # compared by identity: a file may be uploaded twice
class Entry:
    """An image and its prediction."""

    name: str
    gray: np.ndarray  # uint8 (height, width)
    prediction: Prediction
    preparation: str = ""  # what was done to the image before the model saw it, in words
    corrected: str = ""  # class that a person chose
    heatmap: np.ndarray | None = None  # float32 (size, size) in [0, 1]


@dataclass(eq=False)
class Unreadable:
    """A file that could not be read, and why."""

    name: str
    error: str


class Session:
    """Files that one model has classified, in the order that they came.

    Sessions may share the explainer of their model.
    """

    def __init__(self, predictor: Predictor, explainer: Explainer | None = None):
        self.predictor = predictor
        self.explainer = explainer or Explainer(predictor.name)
        self.entries: list[Entry | Unreadable] = []

    def predict(self, name: str, data: bytes) -> Entry | Unreadable:
        """Classify the bytes of a file, and keep its prediction, or its error."""
        entry: Entry | Unreadable
        try:
            gray = decode(data, name)
            [prediction] = self.predictor.predict_arrays([resize(gray, self.predictor.size)])
            entry = Entry(name, gray, prediction, self._preparation(gray))
        except ImageError as error:
            entry = Unreadable(name, str(error))
        self.entries.append(entry)
        return entry

    def correct(self, entry: Entry, label: str) -> None:
        """Note the true class of an image, in the session and for training."""
        corrections.write(entry.gray, entry.prediction.label, label, self.predictor.name)
        entry.corrected = label

    def _preparation(self, gray: np.ndarray) -> str:
        height, width = gray.shape
        size, views = self.predictor.size, self.predictor.tta_views
        mean = "" if views == 1 else f", mean of {views} views"
        return f"{width} x {height} gray, resized to {size} x {size}{mean}"

    def table(self) -> pd.DataFrame:
        """Return one row a file: `number`, `predictor.row_columns`, and `corrected`."""
        classes = self.predictor.classes
        rows = [
            entry.prediction.to_row(entry.name) | {"corrected": entry.corrected}
            if isinstance(entry, Entry)
            else error_row(entry.name, entry.error, classes) | {"corrected": ""}
            for entry in self.entries
        ]
        table = pd.DataFrame(rows, columns=[*row_columns(classes), "corrected"])
        table.insert(0, "number", range(1, len(table) + 1))
        return table

    def to_csv(self) -> str:
        """Return the table as CSV that is safe to open in a spreadsheet."""
        return self.table().map(_escape_formula).to_csv(index=False)

    def select(self, order: str, label: str, decision: str) -> list[Entry | Unreadable]:
        """Return entries in an order of `ORDERS`, of one class and decision or `ALL`.

        Files that could not be read are in every selection, and come first.
        """
        table = self.table()
        failed = table["error"] != ""
        chosen = ~failed & ((label == ALL) | (table["predicted"] == label))
        chosen &= (decision == ALL) | (table["decision"] == decision)
        column, ascending = ORDERS[order]
        rows = table[chosen].sort_values(column, ascending=ascending, kind="stable").index
        return [self.entries[row] for row in (*table.index[failed], *rows)]


def explain(entries: Iterable[Entry | Unreadable], explainer: Explainer) -> None:
    """Compute the activation maps of those that are images; many at once take less time."""
    images = [entry for entry in entries if isinstance(entry, Entry)]
    if images:
        labels = [entry.prediction.label for entry in images]
        maps = explainer.heatmaps([entry.gray for entry in images], labels)
        for entry, heatmap in zip(images, maps, strict=True):
            entry.heatmap = heatmap


def _escape_formula(cell: object) -> object:
    """Put an apostrophe before text that a spreadsheet would take for a formula (OWASP)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
