"""How a model holds up when the camera ages, the light drifts, or the file is squeezed."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss
from tqdm.auto import tqdm

from nbutils import corruptions, litert
from nbutils.images import square, symmetries
from nbutils.predict import Predictor

SNRS = (50, 40, 30, 20)  # decibels, of the database paper's noise protocol
NOISE, CLEAN = "white noise", "clean"


def cells() -> list[tuple[str, int]]:
    """Return what is measured: clean, each family at each severity, and white noise by its SNR."""
    families = [
        (family, level) for family in corruptions.FAMILIES for level in corruptions.SEVERITIES
    ]
    return [(CLEAN, 0), *families, *((NOISE, snr) for snr in SNRS)]


def measure(
    predictor: Predictor, grays: Sequence[np.ndarray], numbers: np.ndarray, seed: int, folder: Path
) -> pd.DataFrame:
    """Measure accuracy and confidence on corrupted images.

    Images are corrupted at their own size, as a camera would, and resized after.

    Parameters
    ----------
    predictor
        The model; it is run by LiteRT, which is faster.
    grays
        uint8 arrays (height, width).
    numbers
        True class numbers.
    seed
        Of the corruptions: the same for every model.
    folder
        Receives the model as `<name>.tflite`.

    Returns
    -------
    One row for each of `cells`: family, level, accuracy, confidence (mean), log_loss (nats).
    """
    file = folder / f"{predictor.name}.tflite"
    litert.export(predictor.model, file)
    network = litert.Network(file)
    rows = []
    for family, level in tqdm(cells(), desc=predictor.name, unit="cell", leave=False):
        squares = np.stack([
            square(_corrupted(gray, family, level, (seed, at)), predictor.size)
            for at, gray in enumerate(grays)
        ])  # fmt: skip
        chances = _probabilities(network, squares, predictor.views)
        rows.append(
            {
                "family": family,
                "level": level,
                "accuracy": (chances.argmax(axis=1) == numbers).mean(),
                "confidence": chances.max(axis=1).mean(),
                "log_loss": log_loss(numbers, chances, labels=range(len(predictor.classes))),
            }
        )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.Series:
    """Summarise what `measure` returns: accuracies, each a mean over families and severities."""
    clean = table.loc[table["family"] == CLEAN, "accuracy"].iloc[0]
    by_family = table[table["family"].isin(corruptions.FAMILIES)]
    trained = by_family["family"].isin(corruptions.TRAINED)
    white = table[table["family"] == NOISE].set_index("level")["accuracy"]
    return pd.Series(
        {
            "clean": clean,
            "all families": by_family["accuracy"].mean(),
            "families of training": by_family.loc[trained, "accuracy"].mean(),
            "families left out": by_family.loc[~trained, "accuracy"].mean(),
            **{f"{snr} dB": white[snr] for snr in SNRS},
            "worst cell": by_family["accuracy"].min(),
        }
    )


def _corrupted(gray: np.ndarray, family: str, level: int, seed: tuple[int, int]) -> np.ndarray:
    if family == CLEAN:
        return gray
    rng = np.random.default_rng((*seed, zlib.crc32(family.encode())))
    if family == NOISE:
        return corruptions.add_noise(gray, level, rng)
    return corruptions.corrupt(gray, family, level, rng)


def _probabilities(network: litert.Network, squares: np.ndarray, views: int) -> np.ndarray:
    batches = (symmetries(one[np.newaxis])[:views, 0] for one in squares)
    return np.stack([found.mean(axis=0) for found in network.map(batches)])
