"""Predict an image that is larger than those of training: what its windows say together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nbutils.inference import windows
from nbutils.inference.defects import Defect, overlaps, to_pixels
from nbutils.inference.prediction import Prediction
from nbutils.runtime import batched

if TYPE_CHECKING:
    from nbutils.inference.predictor import Predictor

MAX_UNLIKE = 0.05  # share of the windows that may be unlike those of training, by chance
MAX_OVERLAP = 0.4  # of the boxes of two windows; of more, both are one defect
MAX_PEAK = 0.1  # of the map of an image that is accepted as one without a defect


def predict(predictor: "Predictor", gray: np.ndarray) -> tuple[Prediction, np.ndarray]:
    """Predict an image, uint8 (height, width), in windows at its own scale.

    Returns the prediction, and the mean embedding of the windows, float32. The prediction is that
    of the window with the surest defect. Without a defect, it is that of a window which is sure of
    a class all the same, for review; else `no_defect` if the network has a map, and that of the
    riskiest window if not. The map covers the whole image.
    """
    decoder, window = predictor.decoder, predictor.window
    tiles = windows.make_windows(gray.shape, window, decoder.grid if decoder else 1)
    stitched = None
    if decoder:
        shape = tiles.rows.cells, tiles.columns.cells, len(predictor.classes)
        stitched = np.zeros(shape, np.float32)
    found = Findings(decoder.normal if decoder else (), predictor.policy is not None)
    places = tiles.places()
    for group in batched(tiles.cut(gray), windows.GROUP):
        images = [predictor.to_input(view) for view in group]
        outputs = predictor.forward(images)
        predictions = predictor.to_predictions(outputs, images, [(1, 1)] * len(group))
        for prediction, embedding in zip(predictions, outputs.embeddings, strict=True):
            row, column = next(places)
            found.add(prediction, embedding, _owned(prediction, tiles, row, column))
            if stitched is not None and prediction.defect_map is not None:
                tiles.paste(prediction.defect_map, stitched, row, column)
    return found.combine(stitched, gray.shape), found.embedding / tiles.count


def _owned(prediction: Prediction, tiles: windows.Windows, row: int, column: int) -> list[Defect]:
    """Return the defects of a window whose centre no other window knows better."""
    left, top = tiles.columns.start(column), tiles.rows.start(row)
    return [
        to_pixels(each, left, top, tiles.columns.window, tiles.rows.window)
        for each in prediction.defects
        if tiles.rows.owns(row, (each.ymin + each.ymax) / 2)
        and tiles.columns.owns(column, (each.xmin + each.xmax) / 2)
    ]


@dataclass
class Findings:
    """What the windows of an image say, one after another."""

    normal: Sequence[str]  # classes that mean "no defect"
    has_policy: bool  # that says what a person reviews; else it is all
    defects: list[Defect] = field(default_factory=list)
    found_by: list[int] = field(default_factory=list)  # the window, for each defect
    embedding: Any = 0.0  # sum over the windows
    count: int = 0  # windows
    surest: Prediction | None = None  # with the surest defect
    riskiest: Prediction | None = None
    doubtful: list[Prediction] = field(default_factory=list)  # to review, and with a defect
    unlike: list[Prediction] = field(default_factory=list)  # the training images; no defect
    unplaced: list[Prediction] = field(default_factory=list)  # sure of a class; no defect

    def add(self, prediction: Prediction, embedding: np.ndarray, defects: list[Defect]) -> None:
        """Enter a window, and the defects that it owns."""
        self.count += 1
        self.embedding = self.embedding + embedding
        self.defects += defects
        self.found_by += [self.count] * len(defects)
        if not self.riskiest or prediction.risk > self.riskiest.risk:
            self.riskiest = prediction
        if prediction.reasons and (defects or prediction.defect_map is None):
            self.doubtful.append(prediction)
        elif prediction.is_novel or prediction.is_degraded:
            self.unlike.append(prediction)
        elif prediction.defect_map is not None and not (
            prediction.reasons or prediction.defects or prediction.label in self.normal
        ):
            self.unplaced.append(prediction)
        if defects and (not self.surest or _surest(prediction) > _surest(self.surest)):
            self.surest = prediction

    def combine(self, stitched: np.ndarray | None, shape: tuple[int, ...]) -> Prediction:
        """Return the prediction of the whole image, of a shape in pixels."""
        assert self.riskiest is not None
        unplaced = max(self.unplaced, key=lambda each: each.confidence, default=None)
        chosen = self.surest or unplaced or self.riskiest
        is_empty = stitched is not None and not self.defects and not unplaced
        peak = 0.0 if stitched is None else float(stitched.max())
        reasons = tuple(self._reasons(peak if is_empty else 0.0))
        reasons = reasons if self.has_policy else chosen.reasons
        risks = [peak if is_empty else chosen.risk, self.riskiest.risk if reasons else 0.0]
        height, width = shape[:2]
        distinct = without_duplicates(self.defects, self.found_by)
        inside = (_clip(each, width, height) for each in distinct)
        return replace(
            chosen,
            prediction_set=() if is_empty else chosen.prediction_set,
            reasons=reasons,
            risk=max(risks),
            novelty=max(chosen.novelty, self.riskiest.novelty),
            defect_map=stitched,
            defects=tuple(each for each in inside if each.area > 0),
            is_empty=is_empty,
            peak=peak,
        )

    def _reasons(self, peak: float) -> Iterator[str]:
        """Give what speaks for a review, each with its worst window; of an empty map, its peak."""
        if self.doubtful:
            worst = max(self.doubtful, key=lambda each: (each.risk, each.novelty))
            yield f"{self._among(self.doubtful)}{worst.reasons[0]}"
        if len(self.unlike) > MAX_UNLIKE * self.count:
            worst = max(self.unlike, key=lambda each: (each.is_novel, each.novelty))
            reason = worst.reasons[0 if worst.is_novel else -1]
            yield f"{self._among(self.unlike, ' without a defect')}{reason}"
        if len(self.unplaced) > MAX_UNLIKE * self.count * bool(self.defects):
            surest = max(self.unplaced, key=lambda each: each.confidence)
            answer = f"{surest.label} {surest.confidence:.1%}"
            yield f"{self._among(self.unplaced)}{answer}, but the map does not show where"
        if peak > MAX_PEAK:
            yield f"no defect is whole, but the map reaches {peak:.1%}"

    def _among(self, windows: Sequence[Prediction], which: str = "") -> str:
        return f"{len(windows)} of {self.count} windows{which}: " if self.count > 1 else ""


def _surest(prediction: Prediction) -> float:
    return max((each.confidence for each in prediction.defects), default=0.0)


def without_duplicates(defects: Sequence[Defect], found_by: Sequence[int]) -> list[Defect]:
    """Return defects, the surest first, without those that another window was surer of.

    `found_by` has the number of the window that found each: two of one window are two defects.
    """
    if not defects:
        return []
    order = sorted(range(len(defects)), key=lambda at: -defects[at].confidence)
    window, labels = np.array(found_by), np.array([each.label for each in defects])
    boxes = np.array([(each.xmin, each.ymin, each.xmax, each.ymax) for each in defects])
    axis = int(np.ptp(boxes[:, :2], axis=0).argmax())  # a strip is searched along its length
    by_start = boxes[:, axis].argsort(kind="stable")
    starts, longest = boxes[by_start, axis], (boxes[:, axis + 2] - boxes[:, axis]).max()
    is_left, kept = np.ones(len(defects), bool), []
    for first in order:
        if not is_left[first]:
            continue
        kept.append(defects[first])
        is_left[first] = False
        reach = boxes[first, axis] - longest, boxes[first, axis + 2]
        near = by_start[slice(*starts.searchsorted(reach))]
        near = near[(labels[near] == labels[first]) & (window[near] != window[first])]
        is_left[near[overlaps(boxes[first], boxes[near]) > MAX_OVERLAP]] = False
    return kept


def _clip(defect: Defect, width: int, height: int) -> Defect:
    """Cut off what lies beyond the image, where a window was filled by its mirror image."""
    return replace(
        defect,
        xmin=min(max(defect.xmin, 0), width),
        ymin=min(max(defect.ymin, 0), height),
        xmax=min(max(defect.xmax, 0), width),
        ymax=min(max(defect.ymax, 0), height),
    )
