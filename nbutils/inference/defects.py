"""Defects that a network locates: from the cells of its grid to a map and boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nbutils.artefacts import CELL_EXTRA, MAX_LOG_DISTANCE

CLASS_EXPONENT, BOX_EXPONENT = 0.7, 0.3  # of a defect's confidence in its class, and in its box
SIGMA = 0.5  # of Soft-NMS: a score is multiplied by exp(-overlap² / SIGMA)
CONTAINED = 0.5  # least overlap of a box that lies wholly in a surer one
LEAST_AREA = 1e-12  # of a box, so that overlaps can be divided by it


@dataclass(frozen=True)
class Defect:
    """A defect and its box, in pixels of the image as it was given."""

    label: str
    confidence: float  # in [0, 1]
    xmin: float
    ymin: float
    xmax: float
    ymax: float

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        return (self.xmax - self.xmin) * (self.ymax - self.ymin)


@dataclass(frozen=True)
class CellDecoder:
    """How the cells of a network are read."""

    classes: Sequence[str]  # names, in the order of the logits
    grid: int  # cells, side of the grid
    threshold: float = 0.5  # confidence from which a defect counts
    boxed: bool = True  # trained with boxes, drawn by people or pseudo ones; else it finds none
    normal: Sequence[str] = ()  # classes that mean "no defect"

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> "CellDecoder | None":
        """Return what reads the cells of a network, by its `model.json`; None if it has none."""
        if not card.get("grid"):
            return None
        facts = (card[key] for key in ("classes", "grid", "defect_threshold", "boxed", "normal"))
        return cls(*facts)

    @property
    def values(self) -> int:
        """How many there are in the cells of an image."""
        return self.grid**2 * (len(self.classes) + CELL_EXTRA)

    def split(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the map, float32 (grid, grid, classes) in [0, 1], and the other outputs."""
        cells = values.reshape(self.grid, self.grid, -1)
        count = len(self.classes)
        return _sigmoid(cells[..., :count]), cells[..., count:]

    def defects(self, values: np.ndarray) -> list[Defect]:
        """Find the defects of an image in its cells (float32), surest first.

        Boxes are in shares of the image's width and height.
        """
        defect_map, extra = self.split(values)
        quality = _sigmoid(extra[..., 0])
        scores = defect_map.max(axis=2) ** CLASS_EXPONENT * quality**BOX_EXPONENT
        is_found = (scores >= self.threshold) & np.isfinite(extra).all(axis=2) & self.boxed
        rows, columns = np.nonzero(is_found)
        distances = np.exp(np.clip(extra[rows, columns, 1:], -MAX_LOG_DISTANCE, MAX_LOG_DISTANCE))
        x, y = columns + 0.5, rows + 0.5
        edges = np.stack(
            [x - distances[:, 0], y - distances[:, 1], x + distances[:, 2], y + distances[:, 3]], 1
        )
        boxes = np.clip(edges / self.grid, 0, 1)
        labels = defect_map[rows, columns].argmax(axis=1)
        return self._named(labels, scores[rows, columns], boxes)

    def defects_in(self, values: np.ndarray, shape: Sequence[int]) -> tuple[Defect, ...]:
        """Find the defects of an image of a shape, height and width in pixels."""
        height, width = shape
        return tuple(to_pixels(each, 0, 0, width, height) for each in self.defects(values))

    def _named(self, labels: np.ndarray, scores: np.ndarray, boxes: np.ndarray) -> list[Defect]:
        kept, scores = suppress(labels, scores, boxes, self.threshold)
        each = zip(labels[kept], scores, boxes[kept].tolist(), strict=True)
        defects = (Defect(self.classes[n], float(score), *box) for n, score, box in each)
        return [defect for defect in defects if defect.label not in self.normal]


def suppress(
    labels: np.ndarray, scores: np.ndarray, boxes: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Lower the scores of boxes that overlap with surer ones of their class, and keep the others.

    A score is multiplied by exp(-overlap² / `SIGMA`) for each surer box that is kept: where defects
    lie side by side, a second box may be one of them (Soft-NMS, Bodla et al., ICCV 2017).

    Parameters
    ----------
    labels, scores
        Of each box: its class, and its confidence (float) in [0, 1].
    boxes
        float (boxes, 4): xmin, ymin, xmax, ymax.
    threshold
        Least score of a box that is kept.

    Returns
    -------
    Places of the boxes that are kept, the surest first, and their scores.
    """
    kept, left = {}, scores.copy()
    while len(left) and left[first := int(left.argmax())] >= threshold:
        kept[first], left[first] = left[first], -np.inf
        others = labels == labels[first]
        left[others] *= np.exp(-(overlaps(boxes[first], boxes[others]) ** 2) / SIGMA)
    return np.array(list(kept), int), np.array(list(kept.values()))


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how far others, (boxes, 4), overlap with a box, (4,): IoU, or more of those within.

    One that lies in the box to a share has `CONTAINED` times that share at least, however small.
    """
    low, high = np.maximum(others[:, :2], box[:2]), np.minimum(others[:, 2:], box[2:])
    common = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.maximum((others[:, 2:] - others[:, :2]).prod(axis=1), LEAST_AREA)
    union = areas + (box[2:] - box[:2]).prod() - common
    return np.maximum(common / union, CONTAINED * common / areas)


def to_pixels(defect: Defect, left: float, top: float, width: float, height: float) -> Defect:
    """Return a defect of a window, given in shares of it, in pixels of the whole image."""
    return replace(
        defect,
        xmin=left + defect.xmin * width,
        ymin=top + defect.ymin * height,
        xmax=left + defect.xmax * width,
        ymax=top + defect.ymax * height,
    )


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))
