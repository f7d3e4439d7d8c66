"""Detection: the boxes that a network finds held against those that people drew."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from nbutils.data import cells, datasets
from nbutils.evaluation import localization
from nbutils.evaluation.metrics import wilson
from nbutils.inference.defects import Defect
from nbutils.inference.predictor import Predictor

LEAST = 0.03  # confidence of the boxes that average precision counts
MIN_IOU = 0.5  # with a true box, of a box that counts as found
THRESHOLDS = np.round(np.arange(0.1, 0.91, 0.05), 2)
Boxes = Sequence[tuple]  # (label, xmin, ymin, xmax, ymax) of each box of an image


def evaluate(predictor: Predictor, rows: pd.DataFrame) -> dict:
    """Hold the map and the boxes of a network with a decoder against true boxes.

    Parameters
    ----------
    predictor
        All its boxes are counted, however unsure.
    rows
        Of `split.csv`: path, sha256, label, boxes, width and height (pixels).

    Returns
    -------
    images (count); average_precision of each class and mean_average_precision; pointing (share of
    images whose brightest cell of the true class lies in a box of it) with its Wilson interval,
    energy (share of that map in boxes); cell_auroc, and the same without_rim. All in [0, 1].
    """
    assert predictor.decoder is not None
    classes = list(predictor.classes)
    outputs = predictor.forward(datasets.read_images(rows, predictor.size))
    sides = zip(outputs.cells, rows["height"], rows["width"], strict=True)
    decoder = replace(predictor.decoder, threshold=LEAST)
    found = [decoder.defects_in(values, shape) for values, *shape in sides]
    boxes = [[box for box in each if box[0] in classes] for each in rows["boxes"]]
    precision = average_precision(match(found, boxes), boxes)
    maps = np.stack([decoder.split(values)[0] for values in outputs.cells])
    y = rows["label"].map(classes.index).to_numpy()
    of_true = maps[np.arange(len(maps)), :, :, y]
    scores = localization.score(rows.assign(predicted=rows["label"]), of_true, 0.5).dropna()
    return {
        "images": len(rows),
        "mean_average_precision": float(precision.mean()),
        "average_precision": precision.to_dict(),
        "pointing": float(scores["pointing"].mean()),
        "pointing_interval": wilson(int(scores["pointing"].sum()), len(scores)),
        "energy": float(scores["energy"].mean()),
        "cell_auroc": cell_auroc(maps, rows, classes),
        "cell_auroc_without_rim": cell_auroc(maps, rows, classes, with_rim=False),
    }


def match(defects: Sequence[Sequence[Defect]], boxes: Sequence[Boxes]) -> pd.DataFrame:
    """Assign found boxes to true ones of their class, surest first, each true one once.

    Parameters
    ----------
    defects, boxes
        Of each image, in the same pixels.

    Returns
    -------
    One row a found box, surest first: image (number), label, confidence, hit (bool).
    """
    rows = []
    for image, (found, true) in enumerate(zip(defects, boxes, strict=True)):
        free = list(true)
        for defect in sorted(found, key=lambda each: -each.confidence):
            same = [box for box in free if box[0] == defect.label]
            best = max(same, key=lambda box: iou(defect, box), default=None)
            hit = False
            if best is not None and iou(defect, best) >= MIN_IOU:
                free.remove(best)
                hit = True
            rows.append((image, defect.label, defect.confidence, hit))
    table = pd.DataFrame(rows, columns=["image", "label", "confidence", "hit"])
    return table.sort_values("confidence", ascending=False, ignore_index=True)


def average_precision(matches: pd.DataFrame, boxes: Sequence[Boxes]) -> pd.Series:
    """Return the average precision of each class that has boxes: the area under precision-recall.

    Precision is the highest at this recall or more, as in PASCAL VOC since 2010 (Everingham et al.,
    IJCV 2015).

    Parameters
    ----------
    matches
        As `match` returns them, of all boxes however unsure.
    boxes
        True ones of each image.
    """
    true = pd.Series([box[0] for each in boxes for box in each]).value_counts().sort_index()
    return pd.Series({label: _average(matches, label, count) for label, count in true.items()})


def _average(matches: pd.DataFrame, label: str, count: int) -> float:
    hits = matches.loc[matches["label"] == label, "hit"].to_numpy().cumsum()
    precision = hits / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(hits / count, prepend=0) * highest))


def best_threshold(matches: pd.DataFrame, boxes: Sequence[Boxes]) -> float:
    """Return the confidence, of `THRESHOLDS`, with the highest F1 of found and true boxes.

    The middle one where no box is found.
    """
    if not matches["hit"].any():
        return float(np.median(THRESHOLDS))
    true = sum(map(len, boxes))

    def f1(threshold: float) -> float:
        hits = matches.loc[matches["confidence"] >= threshold, "hit"]
        return 2 * hits.sum() / max(len(hits) + true, 1)

    return float(max(THRESHOLDS, key=f1))


def cell_auroc(
    maps: np.ndarray, rows: pd.DataFrame, classes: list[str], with_rim: bool = True
) -> float:
    """Return how well maps tell cells in boxes from the background: area under the ROC curve.

    Parameters
    ----------
    maps
        Of images, float (images, grid, grid, classes) in [0, 1].
    rows
        Of `split.csv`: boxes, width and height (pixels).
    classes
        Names, in the order of the maps.
    with_rim
        Whether cells just outside a box, which training leaves out (`cells.RIM`), are background.
    """
    count, grid = len(classes), maps.shape[1]
    boxes = cells.read_boxes(rows, classes, grid)
    targets = np.stack([cells.encode(each, count, grid, grid) for each in boxes])
    _, weight, has_box, _ = cells.split_target(targets, count)
    is_inside, is_clear = has_box > 0, weight.all(axis=-1)
    counts = is_inside | is_clear | with_rim
    return float(roc_auc_score(is_inside[counts], maps.max(axis=-1)[counts]))


def iou(defect: Defect, box: tuple) -> float:
    """Return the area that two boxes share, over the area that they cover together."""
    _, left, top, right, bottom = box
    width = min(defect.xmax, right) - max(defect.xmin, left)
    height = min(defect.ymax, bottom) - max(defect.ymin, top)
    common = max(width, 0) * max(height, 0)
    union = defect.area + (right - left) * (bottom - top) - common
    return common / union if union > 0 else 0.0
