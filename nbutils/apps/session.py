"""A session of the demo: files, what a model predicts of them, and what a person says of that."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from nbutils.apps import html
from nbutils.apps.intake import IN_MEMORY, temporary
from nbutils.data import corrections
from nbutils.data.images import ImageError, decode, pixel_hash
from nbutils.inference.prediction import Prediction, error_row, no_formula, row_columns
from nbutils.inference.predictor import Predictor

STATES = {  # of a file -> its sign
    "review": "⚠",
    "accept": "✓",
    "confirmed": "✔",
    "corrected": "✎",
    "unreadable": "✕",
}
REVIEWED = ("confirmed", "corrected")
ALL = "all"


@dataclass(eq=False)  # compared by identity
class Entry:
    """An image and its prediction."""

    name: str
    gray: np.ndarray  # uint8 (height, width)
    prediction: Prediction
    size: str = ""  # in words
    stored: str = ""  # label of a data set, where that is doubtful
    corrected: str = ""  # what a person says it is; the proposed class where they confirmed it
    before: str = ""  # what the model before this one predicted, if that was another class
    model: str = ""  # whose prediction it is

    @property
    def proposed(self) -> str:
        """What a person is asked to confirm: the stored label, or the predicted class."""
        return self.stored or self.prediction.label

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.corrected:
            return "confirmed" if self.corrected == self.proposed else "corrected"
        return "review" if self.stored else self.prediction.decision

    @property
    def has_evidence(self) -> bool:
        """Whether the model says where the defects are."""
        return self.prediction.defect_map is not None or bool(self.prediction.defects)

    @cached_property
    def thumbnail(self) -> str:
        """A small copy as a data URL."""
        return html.encode(self.gray, html.THUMBNAIL)

    @cached_property
    def digest(self) -> str:
        """The hash of its pixels."""
        return pixel_hash(self.gray)


@dataclass(frozen=True)
class Review:
    """What a person said of an image, of which model's prediction, and what was said before."""

    entry: Entry
    before: str
    predicted: str
    model: str


@dataclass(eq=False)
class Unreadable:
    """A file that could not be read, and why."""

    name: str
    error: str
    before: str = ""  # it has no class
    state: str = "unreadable"


ORDERS: dict[str, Callable[[Entry], tuple]] = {  # name on the panel -> key of an image
    "most doubtful first": lambda entry: (
        -(entry.prediction.risk if not entry.stored else 1.0),
        entry.prediction.confidence,
    ),
    "as added": lambda entry: (),
    "by file name": lambda entry: (entry.name,),
    "by class": lambda entry: (entry.prediction.label, entry.prediction.confidence),
    "most novel first": lambda entry: (-np.nan_to_num(entry.prediction.novelty),),
}


class Session:
    """Files that a model has classified, in the order that they came."""

    def __init__(self, predictor: Predictor):
        self.entries: list[Entry | Unreadable] = []
        self.known: dict[tuple[str, str], Entry | Unreadable] = {}  # by name and content
        self.history: list[Review] = []  # that can be taken back
        self.earlier: dict[str, str] = {}  # digest of pixels -> what a person said of them
        self.written = 0  # nanoseconds, when that was kept
        self.use(predictor)

    def use(self, predictor: Predictor) -> None:
        """Take another model; `predict_again` has it classify the images that are there."""
        self.earlier, self.written = {}, 0
        self._read_corrections(predictor)
        self.predictor = predictor

    def _read_corrections(self, predictor: Predictor) -> None:
        """Read what people said, if it was kept since: a kernel may wait long for its visitor."""
        file = corrections.corrections_file(predictor.name)
        written = file.stat().st_mtime_ns if file.is_file() else 0
        if written != self.written:
            self.earlier, self.written = {}, written
            if written:
                table = corrections.read(file)
                self.earlier = dict(zip(table["sha256"], table["corrected"], strict=True))

    def predict(self, name: str, data: bytes, stored: str = "") -> Entry | Unreadable:
        """Classify the bytes of a file, and keep its prediction, or its error.

        The same content of the same name has one entry. What a person said of these pixels earlier
        is said again.
        """
        key = name, hashlib.sha256(data).hexdigest()
        if key not in self.known:
            self.known[key] = self._new_entry(name, data, stored)
            self.entries.append(self.known[key])
        return self.known[key]

    def predict_again(self, entry: Entry) -> None:
        """Classify an image by the model of now, and note whether the class is another one."""
        before, predictor = entry.prediction.label, self.predictor
        prediction = predictor.predict_image(entry.gray)
        entry.before = before if before != prediction.label else ""
        entry.prediction, entry.model = prediction, predictor.name
        entry.corrected = entry.corrected or self.earlier.get(entry.digest, "")

    def add_unreadable(self, name: str, error: str) -> None:
        """Keep the error of a file whose content did not arrive."""
        if (name, error) not in self.known:
            self.known[name, error] = Unreadable(name, error)
            self.entries.append(self.known[name, error])

    def review(self, entry: Entry, label: str) -> None:
        """Note what a person says an image is, in the session and for training.

        Raises UserError where it cannot be written; nothing is noted then.
        """
        said = Review(entry, entry.corrected, entry.prediction.label, entry.model)
        self._keep(said, label)
        self.history.append(said)

    def _keep(self, review: Review, label: str) -> None:
        """Write a label, empty to take it back, and show it at all images of the same pixels."""
        corrections.write(review.entry.gray, review.predicted, label, review.model)
        for entry in self.images():
            if entry.digest == review.entry.digest:
                entry.corrected = label

    def undo(self) -> Entry | None:
        """Take the last review back, and return its image; None if there is none."""
        if not self.history:
            return None
        last = self.history[-1]
        self._keep(last, last.before)
        self.history.pop()
        return last.entry

    def counts(self) -> Counter[str]:
        """Count files by their state."""
        return Counter(entry.state for entry in self.entries)

    def classes(self) -> Counter[str]:
        """Count images by the predicted class."""
        return Counter(entry.prediction.label for entry in self.images())

    def images(self) -> list[Entry]:
        """Return the files that could be read."""
        return [entry for entry in list(self.entries) if isinstance(entry, Entry)]

    def select(self, order: str, label: str = ALL, state: str = ALL) -> list[Entry | Unreadable]:
        """Return files in an order of `ORDERS`, of a predicted class and a state, or `ALL`.

        The state may be `reviewed`, for `REVIEWED`. Unreadable files come last, and have no class.
        """
        states = {ALL: tuple(STATES), "reviewed": REVIEWED}.get(state, (state,))
        chosen = [entry for entry in list(self.entries) if entry.state in states]
        images = [entry for entry in chosen if isinstance(entry, Entry)]
        images = [entry for entry in images if label in (ALL, entry.prediction.label)]
        unreadable = [] if label != ALL else [e for e in chosen if isinstance(e, Unreadable)]
        return [*sorted(images, key=ORDERS[order]), *unreadable]

    def table(self) -> pd.DataFrame:
        """Return one row a file: `number`, `prediction.row_columns`, and `corrected`."""
        classes = self.predictor.classes
        rows = [
            entry.prediction.to_row(entry.name, entry.stored) | {"corrected": entry.corrected}
            if isinstance(entry, Entry)
            else error_row(entry.name, entry.error, classes) | {"corrected": ""}
            for entry in list(self.entries)
        ]
        table = pd.DataFrame(rows, columns=[*row_columns(classes), "corrected"])
        table.insert(0, "number", range(1, len(table) + 1))
        return table

    def to_csv(self) -> str:
        """Return the table as CSV that is safe to open in a spreadsheet, with 4 decimals."""
        return self.table().map(_cell).to_csv(index=False)

    def _new_entry(self, name: str, data: bytes, stored: str) -> Entry | Unreadable:
        predictor = self.predictor  # another thread may take another one
        try:
            gray = decode(data, name, predictor.bit_depth)
        except ImageError as error:
            return Unreadable(name, str(error))
        prediction = predictor.predict_image(gray)
        with temporary(name):
            kept = _spool(gray)
        size = "{1} x {0} gray".format(*gray.shape)
        entry = Entry(name, kept, prediction, size, stored, model=predictor.name)
        self._read_corrections(self.predictor)
        entry.corrected = self.earlier.get(entry.digest, "")
        entry.thumbnail  # noqa: B018  drawn here, where nobody waits for it
        return entry


def _spool(gray: np.ndarray) -> np.ndarray:
    """Return an image; a large one from a temporary file that vanishes with it."""
    if gray.nbytes <= IN_MEMORY:
        return gray
    with tempfile.TemporaryFile() as file:
        file.write(gray.tobytes())
        file.flush()
        return np.memmap(file, np.uint8, "r", shape=gray.shape)


def _cell(value: object) -> object:
    """Round numbers; `no_formula`."""
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4f}"
    return no_formula(value)
