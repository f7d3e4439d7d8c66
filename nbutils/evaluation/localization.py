"""Localization: activation maps held against the boxes that people drew."""

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import bootstrap

from nbutils.data import datasets
from nbutils.evaluation.metrics import CONFIDENCE, wilson
from nbutils.inference.predictor import Predictor

THRESHOLDS = np.linspace(0.05, 0.95, 19)


def score(rows: pd.DataFrame, maps: np.ndarray, threshold: float) -> pd.DataFrame:
    """Compare maps with the boxes of the predicted class.

    Rows have path, label, predicted, boxes, and the image's width and height in pixels; maps are in
    [0, 1], (images, side, side). From the threshold on, a point is part of the predicted region.

    Returns
    -------
    One row an image: path, label, predicted; pointing (1 if the brightest point lies in a box:
    the pointing game of Zhang et al., ECCV 2016), energy (share of the map inside), iou (of the
    region with the boxes) and coverage (share of the image inside), all in [0, 1] and missing where
    the image has no such box; failed: the map is empty, or its region touches no box.
    """
    masks = datasets.box_masks(rows, rows["predicted"], maps.shape[1])
    maps, masks = maps.reshape(len(maps), -1), masks.reshape(len(maps), -1)
    is_empty, is_boxed = maps.max(axis=1) == 0, masks.any(axis=1)
    iou = _iou(maps, masks, threshold)
    scores = pd.DataFrame(
        {
            "pointing": masks[np.arange(len(maps)), maps.argmax(axis=1)] & ~is_empty,
            "energy": (maps * masks).sum(axis=1) / np.maximum(maps.sum(axis=1), 1e-9),
            "iou": iou,
            "coverage": masks.mean(axis=1),
        }
    ).astype(float)
    scores[~is_boxed] = np.nan
    scores["failed"] = is_empty | (is_boxed & (iou == 0))
    return rows[["path", "label", "predicted"]].reset_index(drop=True).join(scores)


def best_threshold(rows: pd.DataFrame, maps: np.ndarray) -> float:
    """Return the threshold, of `THRESHOLDS`, with the highest mean IoU with the true class's boxes.

    Arguments are those of `score`. The middle one without boxes.
    """
    masks = datasets.box_masks(rows, rows["label"], maps.shape[1])
    maps, masks = (each.reshape(len(maps), maps.shape[1] ** 2) for each in (maps, masks))
    is_boxed = masks.any(axis=1)
    if not is_boxed.any():
        return float(np.median(THRESHOLDS))
    maps, masks = maps[is_boxed], masks[is_boxed]
    return float(max(THRESHOLDS, key=lambda threshold: _iou(maps, masks, threshold).mean()))


def summarize(scores: pd.DataFrame, by: str) -> pd.DataFrame:
    """Summarise `score` tables.

    Index `by`; images with boxes; means of pointing, energy, iou and coverage; 95 % intervals
    (`_low`, `_high`) of pointing by Wilson, of energy by bootstrap; failed (count).
    """
    groups = scores.groupby(by, sort=False)
    table = groups[["pointing", "energy", "iou", "coverage"]].mean()
    table.insert(0, "images", groups["energy"].count())
    counts = zip(groups["pointing"].sum().astype(int), table["images"], strict=True)
    table[["pointing_low", "pointing_high"]] = [wilson(*pair) for pair in counts]
    intervals = [_mean_interval(values.dropna().to_numpy()) for _, values in groups["energy"]]
    table[["energy_low", "energy_high"]] = intervals
    return table.assign(failed=groups["failed"].sum())


def defect_maps(predictor: Predictor, images: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the network's own maps of classes, enlarged to its input.

    Parameters
    ----------
    predictor
        Of a network with a decoder.
    images, y
        uint8 (images, size, size, 1), and the class number of each map (int).

    Returns
    -------
    float32 array (images, size, size) in [0, 1].
    """
    assert predictor.decoder is not None
    cells = predictor.forward(images).cells
    maps = [
        predictor.decoder.split(each)[0][..., label] for each, label in zip(cells, y, strict=True)
    ]
    return np.stack([resize_map(each, images.shape[1]) for each in maps])


def resize_map(values: np.ndarray, size: int) -> np.ndarray:
    """Enlarge a map, float32 (grid, grid), to a square of a size in pixels (bilinear)."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def center(count: int, side: int) -> np.ndarray:
    """Return maps that are brightest in the middle of the image: a baseline."""
    line = np.linspace(-1, 1, side)
    hill = np.exp(-2 * (line[:, np.newaxis] ** 2 + line**2))
    return np.broadcast_to(hill, (count, side, side)).astype(np.float32)


def noise(count: int, side: int, seed: int) -> np.ndarray:
    """Return maps of noise, each point alone: a baseline."""
    return np.random.default_rng(seed).random((count, side, side), dtype=np.float32)


def _mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the bootstrap interval of a mean; (0, 1) of fewer than two values."""
    if len(values) < 2:
        return 0.0, 1.0
    options = {"n_resamples": 1000, "confidence_level": CONFIDENCE, "method": "percentile"}
    interval = bootstrap((values,), np.mean, rng=0, **options).confidence_interval
    return float(interval.low), float(interval.high)


def _iou(maps: np.ndarray, masks: np.ndarray, threshold: float) -> np.ndarray:
    """Return the intersection over union of each region with its boxes: all (images, points)."""
    regions = maps >= threshold
    union = (regions | masks).sum(axis=1)
    return (regions & masks).sum(axis=1) / np.maximum(union, 1)
