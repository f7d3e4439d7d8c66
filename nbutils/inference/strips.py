"""Predict an image that is larger than those of training: what its windows say together."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nbutils.inference import windows
from nbutils.inference.defects import Defect, suppress, to_pixels
from nbutils.runtime import batched

if TYPE_CHECKING:
    from nbutils.inference.predictor import Prediction, Predictor

MAX_UNLIKE = 0.05  # share of the windows that may be unlike those of training, by chance


def predict(predictor: "Predictor", gray: np.ndarray) -> tuple["Prediction", np.ndarray]:
    """Predict an image, uint8 (height, width), in windows at its own scale.

    Returns the prediction, and the mean embedding of the windows, float32. The prediction is that
    of the window with the surest defect; without a defect it is `no_defect` if the network has a
    map, else that of the riskiest window. The map covers the whole image.
    """
    decoder, window = predictor.decoder, predictor.window
    tiles = windows.make_windows(gray.shape, window, decoder.grid if decoder else 1)
    stitched = None
    if decoder:
        shape = tiles.rows.cells, tiles.columns.cells, len(predictor.classes)
        stitched = np.zeros(shape, np.float32)
    found, places = Findings(), tiles.places()
    for group in batched(tiles.cut(gray), windows.GROUP):
        images = [predictor.fit(view) for view in group]
        outputs = predictor.forward(images)
        predictions = predictor.to_predictions(outputs, [(1, 1)] * len(group), images)
        for prediction, embedding in zip(predictions, outputs.embeddings, strict=True):
            row, column = next(places)
            found.add(prediction, embedding, _owned(prediction, tiles, row, column))
            if stitched is not None and prediction.defect_map is not None:
                tiles.paste(prediction.defect_map, stitched, row, column)
    return found.combine(stitched, gray.shape), found.embedding / tiles.count


def _owned(prediction: "Prediction", tiles: windows.Windows, row: int, column: int) -> list[Defect]:
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

    defects: list[Defect] = field(default_factory=list)
    embedding: Any = 0.0  # sum over the windows
    count: int = 0  # windows
    surest: "Prediction | None" = None  # with the surest defect
    riskiest: "Prediction | None" = None
    reasons: list[tuple[str, ...]] = field(default_factory=list)  # of windows with a defect
    unlike: list[str] = field(default_factory=list)  # why, of windows without a defect to review

    def add(self, prediction: "Prediction", embedding: np.ndarray, defects: list[Defect]) -> None:
        """Enter a window, and the defects that it owns."""
        self.count += 1
        self.embedding = self.embedding + embedding
        self.defects += defects
        if not self.riskiest or prediction.risk > self.riskiest.risk:
            self.riskiest = prediction
        if prediction.reasons and (defects or prediction.defect_map is None):
            self.reasons.append(prediction.reasons)
        elif prediction.is_novel or prediction.is_worn:
            self.unlike.append(prediction.reasons[0 if prediction.is_novel else -1])
        if defects and (not self.surest or _surest(prediction) > _surest(self.surest)):
            self.surest = prediction

    def combine(self, stitched: np.ndarray | None, shape: tuple[int, ...]) -> "Prediction":
        """Return the prediction of the whole image, of a shape in pixels."""
        assert self.riskiest is not None
        chosen = self.surest or self.riskiest
        height, width = shape[:2]
        inside = (_clip(each, width, height) for each in _without_duplicates(self.defects))
        return replace(
            chosen,
            reasons=self._reasons(),
            risk=max(self.riskiest.risk if self._reasons() else chosen.risk, chosen.risk),
            novelty=max(chosen.novelty, self.riskiest.novelty),
            defect_map=stitched,
            defects=tuple(each for each in inside if each.area > 0),
            is_empty=stitched is not None and not self.defects,
        )

    def _reasons(self) -> tuple[str, ...]:
        reasons = []
        if self.reasons:
            reasons.append(f"{len(self.reasons)} of {self.count} windows: {self.reasons[0][0]}")
        if len(self.unlike) > MAX_UNLIKE * self.count:
            among = f"{len(self.unlike)} of {self.count} windows without a defect"
            reasons.append(f"{among}: {self.unlike[0]}")
        return tuple(reasons)


def _surest(prediction: "Prediction") -> float:
    return max((each.confidence for each in prediction.defects), default=0.0)


def _without_duplicates(defects: list[Defect]) -> list[Defect]:
    """Return defects, the surest first, without those that two windows found."""
    defects = sorted(defects, key=lambda each: -each.confidence)
    labels = np.array([each.label for each in defects])
    edges = [(each.xmin, each.ymin, each.xmax, each.ymax) for each in defects]
    return [defects[place] for place in suppress(labels, np.reshape(edges, (-1, 4)))]


def _clip(defect: Defect, width: int, height: int) -> Defect:
    """Cut off what lies beyond the image, where a window was filled by its mirror image."""
    return replace(
        defect,
        xmin=min(max(defect.xmin, 0), width),
        ymin=min(max(defect.ymin, 0), height),
        xmax=min(max(defect.xmax, 0), width),
        ymax=min(max(defect.ymax, 0), height),
    )
