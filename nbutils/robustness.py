"""How a model holds up when the camera ages, the light drifts, or the file is squeezed."""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nbutils import calibration, conformal, corruptions
from nbutils.images import square
from nbutils.predictor import Predictor
from nbutils.trust import Trust, sets, soften

SNRS = (50, 40, 30, 20)  # decibels, of the database paper's noise protocol
NOISE, CLEAN = "white noise", "clean"


def cells() -> list[tuple[str, int]]:
    """Return what is measured: clean, each family at each severity, and white noise by its SNR."""
    families = [
        (family, level) for family in corruptions.FAMILIES for level in corruptions.SEVERITIES
    ]
    return [(CLEAN, 0), *families, *((NOISE, snr) for snr in SNRS)]


def measure(
    predictors: Sequence[Predictor], grays: Sequence[np.ndarray], labels: Sequence[str], seed: int
) -> pd.DataFrame:
    """Ask models about corrupted images, the same for each.

    Images are corrupted at their own size, as a camera would, and resized after.

    Parameters
    ----------
    predictors
        The models, each with a name of its own.
    grays
        uint8 arrays (height, width).
    labels
        True classes.
    seed
        Of the corruptions.

    Returns
    -------
    One row for each image in each of `cells` and each model: model, family, level, label; verdict
    and novelty, where the model has limits; and `p_<class>`, probabilities before calibration.
    """
    answers = []
    for family, level in tqdm(cells(), desc="Corrupting", unit="cell", leave=False):
        spoiled = [_corrupted(gray, family, level, (seed, at)) for at, gray in enumerate(grays)]
        where = {"family": family, "level": level, "label": list(labels)}
        answers += [_asked(predictor, spoiled, where) for predictor in predictors]
    return pd.concat(answers, ignore_index=True)


def _asked(predictor: Predictor, grays: Sequence[np.ndarray], where: dict) -> pd.DataFrame:
    """Return a model's answers to the images of a cell."""
    squares = np.stack([square(gray, predictor.size) for gray in grays])
    raw, embeddings = predictor.answers(squares)
    facts = {"model": predictor.name, **where}
    if predictor.trust:
        _, novelty, _, reasons = predictor.trust.judge(raw, embeddings)
        verdicts = ["review" if reason else "accept" for reason in reasons]
        facts |= {"verdict": verdicts, "novelty": novelty}
    chances = pd.DataFrame(raw, columns=[f"p_{label}" for label in predictor.classes])
    return pd.DataFrame(facts).join(chances)


def by_cell(answers: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Measure the answers of each cell.

    Parameters
    ----------
    answers
        As `measure` returns them, of one model.
    temperature
        That calibrates them; 1 leaves them as they are.

    Returns
    -------
    One row for each of `cells`: family, level, what `calibration.measures` returns, reviewed
    (share of the images that a person has to see), and wrong_accepted (share that is wrong and
    that nobody sees).
    """
    rows = []
    for (family, level), cell in answers.groupby(["family", "level"], sort=False):
        chances, numbers = arrays(cell, temperature)
        accepted = (cell["verdict"] == "accept").to_numpy()
        wrong = accepted & (chances.argmax(axis=1) != numbers)
        shares = {"reviewed": 1 - accepted.mean(), "wrong_accepted": wrong.mean()}
        rows.append(
            {"family": family, "level": level, **calibration.measures(chances, numbers), **shares}
        )
    return pd.DataFrame(rows)


def arrays(answers: pd.DataFrame, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated probabilities (images, classes) and class numbers of answers."""
    raw = answers.filter(like="p_")
    numbers = raw.columns.get_indexer([f"p_{label}" for label in answers["label"]])
    return soften(raw.to_numpy(), temperature), numbers


def summary(table: pd.DataFrame) -> pd.Series:
    """Summarise what `by_cell` returns: accuracies, each a mean over families and severities."""
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
            "reviewed clean": table.loc[table["family"] == CLEAN, "reviewed"].iloc[0],
            "reviewed corrupted": by_family["reviewed"].mean(),
            "wrong and accepted": by_family["wrong_accepted"].mean(),
        }
    )


def _corrupted(gray: np.ndarray, family: str, level: int, seed: tuple[int, int]) -> np.ndarray:
    if family == CLEAN:
        return gray
    rng = np.random.default_rng((*seed, zlib.crc32(family.encode())))
    if family == NOISE:
        return corruptions.add_noise(gray, level, rng)
    return corruptions.corrupt(gray, family, level, rng)


def split_off(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return answers to images as they are, and to images of all families and severities."""
    by_family = answers["family"].isin(corruptions.FAMILIES)
    return {CLEAN: answers[answers["family"] == CLEAN], "corrupted": answers[by_family]}


def calibrated(answers: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Measure calibration of one model on clean and corrupted images, before and after.

    Returns
    -------
    Index (images, probabilities); accuracy, confidence, ece, brier, log_loss.
    """
    rows = {
        (images, words): calibration.measures(*arrays(part, value))
        for images, part in split_off(answers).items()
        for words, value in (("before", 1.0), ("after", temperature))
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["images", "calibration"])


def coverage(answers: pd.DataFrame, trust: Trust) -> pd.DataFrame:
    """Measure the conformal sets of one model on clean and corrupted images.

    Returns
    -------
    Columns images, level (per cent), and what `conformal.coverage` returns, for `all` and each
    class.
    """
    tables = []
    for name, part in split_off(answers).items():
        chances, numbers = arrays(part, trust.limits.temperature)
        classes = [column.removeprefix("p_") for column in part.filter(like="p_")]
        for level, floor in trust.limits.floors.items():
            found = conformal.coverage(sets(chances, floor), numbers, classes).reset_index()
            tables.append(found.assign(images=name, level=int(level)))
    return pd.concat(tables, ignore_index=True)
