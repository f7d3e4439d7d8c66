"""A session of the demo: what was asked, what was answered, and what a person corrected."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nbutils import corrections
from nbutils.images import ImageError, decode, square
from nbutils.predictor import Prediction, Predictor

ORDERS = {  # words of the panel -> column and whether it ascends
    "as they came": ("number", True),
    "least sure first": ("confidence", True),
    "most novel first": ("novelty", False),
    "by name": ("file", True),
    "by class": ("label", True),
}
ALL = "all"


@dataclass
class Entry:
    """A file and what came of it."""

    name: str
    gray: np.ndarray | None = None  # uint8 (height, width)
    prediction: Prediction | None = None
    error: str = ""
    corrected: str = ""


class Session:
    """The files of a session, judged by one model."""

    def __init__(self, predictor: Predictor):
        self.predictor = predictor
        self.entries: list[Entry] = []

    def judge(self, name: str, data: bytes) -> Entry:
        """Classify the bytes of a file, and keep the answer, or the error where there is none."""
        entry = Entry(name)
        try:
            entry.gray = decode(data, name)
            [entry.prediction] = self.predictor.judge(
                square(entry.gray, self.predictor.size)[np.newaxis]
            )
        except ImageError as error:
            entry.error = str(error)
        self.entries.append(entry)
        return entry

    def correct(self, entry: Entry, label: str) -> None:
        """Note the right class of an image, in the session and in the model's file."""
        corrections.write(entry.gray, entry.prediction.label, label, self.predictor.name)
        entry.corrected = label

    def prepared(self, entry: Entry) -> str:
        """Say what was done to an image before the model saw it; nothing for an unreadable one."""
        if entry.gray is None:
            return ""
        height, width = entry.gray.shape
        size = self.predictor.size
        views = "" if self.predictor.views == 1 else f", {self.predictor.views} views averaged"
        return f"{width} x {height} gray, resized to {size} x {size}{views}"

    def table(self) -> pd.DataFrame:
        """Return one row a file, with its label, probabilities, verdict, correction, or error."""
        rows = [self._row(number, entry) for number, entry in enumerate(self.entries, start=1)]
        chances = [f"p_{label}" for label in self.predictor.classes]
        facts = ["number", "file", "label", "corrected", "confidence", "verdict", "novelty"]
        return pd.DataFrame(rows, columns=[*facts, "candidates", "reasons", *chances, "error"])

    def select(self, order: str, label: str, verdict: str) -> list[Entry]:
        """Return entries in an order of `ORDERS`, of one class and verdict or `ALL`.

        Files that could not be read are in every choice, and come first.
        """
        table = self.table()
        broken = table["error"] != ""
        fits = ~broken
        for column, value in (("label", label), ("verdict", verdict)):
            if value != ALL:
                fits &= table[column] == value
        column, ascending = ORDERS[order]
        rows = table[fits].sort_values(column, ascending=ascending, kind="stable").index
        return [self.entries[at] for at in (*table.index[broken], *rows)]

    def _row(self, number: int, entry: Entry) -> dict:
        row = {"number": number, "file": entry.name, "corrected": entry.corrected}
        found = entry.prediction
        if not found:
            return row | {"label": "", "verdict": "", "error": entry.error}
        facts = {
            name: getattr(found, name) for name in ("label", "confidence", "verdict", "novelty")
        }
        words = {"candidates": ";".join(found.candidates), "reasons": "; ".join(found.reasons)}
        chances = {f"p_{label}": chance for label, chance in found.probabilities.items()}
        return row | facts | words | chances | {"error": ""}
