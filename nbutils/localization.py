"""How well activation maps find what people boxed."""

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from nbutils import boxes
from nbutils.metrics import CONFIDENCE, wilson

THRESHOLDS = np.linspace(0.05, 0.95, 19)


def score(rows: pd.DataFrame, maps: np.ndarray, threshold: float) -> pd.DataFrame:
    """Hold maps against the boxes of the predicted class.

    Parameters
    ----------
    rows
        path, label, predicted, boxes, and the image's width and height in pixels.
    maps
        float in [0, 1], shape (images, side, side), in the same order.
    threshold
        From where on a map counts as marked.

    Returns
    -------
    One row an image: path, label, predicted; pointing (1 if the brightest point lies in a box:
    the pointing game of Zhang et al., ECCV 2016), energy (share of the map inside), iou (of what is
    marked with the boxes) and coverage (share of the image inside), all in [0, 1] and missing where
    the image has no such box; failed: the map is empty, or nothing that it marks touches a box.
    """
    inside = boxes.masks(rows, rows["predicted"], maps.shape[1])
    flat, held = maps.reshape(len(maps), -1), inside.reshape(len(maps), -1)
    empty = flat.max(axis=1) == 0
    overlap = _iou(flat, held, threshold)
    found = pd.DataFrame(
        {
            "pointing": held[np.arange(len(flat)), flat.argmax(axis=1)] & ~empty,
            "energy": (flat * held).sum(axis=1) / np.maximum(flat.sum(axis=1), 1e-9),
            "iou": overlap,
            "coverage": held.mean(axis=1),
        }
    ).astype(float)
    boxed = held.any(axis=1)
    found[~boxed] = np.nan
    found["failed"] = empty | (boxed & (overlap == 0))
    return rows[["path", "label", "predicted"]].reset_index(drop=True).join(found)


def best_threshold(rows: pd.DataFrame, maps: np.ndarray) -> float:
    """Return the threshold, of `THRESHOLDS`, with the highest mean IoU; arguments as in `score`.

    The middle one without boxes.
    """
    held = boxes.masks(rows, rows["label"], maps.shape[1]).reshape(len(maps), -1)
    flat = maps.reshape(len(maps), -1)[held.any(axis=1)]
    held = held[held.any(axis=1)]
    if not len(held):
        return float(np.median(THRESHOLDS))
    return max(THRESHOLDS, key=lambda threshold: _iou(flat, held, threshold).mean())


def center(count: int, side: int) -> np.ndarray:
    """Return maps that shine in the middle of the image: a baseline."""
    line = np.linspace(-1, 1, side)
    hill = np.exp(-2 * (line[:, np.newaxis] ** 2 + line**2))
    return np.broadcast_to(hill, (count, side, side)).astype(np.float32)


def noise(count: int, side: int, seed: int) -> np.ndarray:
    """Return maps of noise, each point alone: a baseline."""
    return np.random.default_rng(seed).random((count, side, side), dtype=np.float32)


def summary(scores: pd.DataFrame, by: str) -> pd.DataFrame:
    """Summarise `score` tables.

    Returns
    -------
    Index `by`; images with boxes; pointing, with its 95 % Wilson interval; energy, iou and
    coverage, means with bootstrap intervals (`_low`, `_high`) for energy; failed (count).
    """
    return pd.DataFrame.from_dict(
        {name: _summary(rows) for name, rows in scores.groupby(by, sort=False)}, orient="index"
    ).rename_axis(by)


def _summary(rows: pd.DataFrame) -> dict:
    boxed = rows.dropna()
    low, high = wilson(int(boxed["pointing"].sum()), len(boxed))
    energy = _mean_interval(boxed["energy"].to_numpy())
    return {
        "images": len(boxed),
        "pointing": boxed["pointing"].mean(),
        "pointing_low": low,
        "pointing_high": high,
        "energy": boxed["energy"].mean(),
        "energy_low": energy[0],
        "energy_high": energy[1],
        "iou": boxed["iou"].mean(),
        "coverage": boxed["coverage"].mean(),
        "failed": int(rows["failed"].sum()),
    }


def _mean_interval(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2:
        return 0.0, 1.0
    options = {"confidence_level": CONFIDENCE, "method": "percentile", "rng": 0}
    found = bootstrap((values,), np.mean, n_resamples=1000, **options).confidence_interval
    return found.low, found.high


def _iou(flat: np.ndarray, held: np.ndarray, threshold: float) -> np.ndarray:
    marked = flat >= threshold
    return (marked & held).sum(axis=1) / np.maximum((marked | held).sum(axis=1), 1)
