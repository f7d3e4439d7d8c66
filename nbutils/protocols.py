"""Who learns and who judges in a comparison, and what its outcomes are worth."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from nbutils.metrics import CONFIDENCE, wilson
from nbutils.paths import UserError

FOLDS = 5
ONCE = ("fixed", "blocked")  # protocols that judge each image once


@dataclass(frozen=True)
class Trial:
    """One division of the images: row numbers that learn, row numbers that judge."""

    protocol: str
    per_class: int  # training images of the largest class
    repeat: int
    train: np.ndarray
    test: np.ndarray


def fixed(table: pd.DataFrame, repeats: int = 1) -> Iterator[Trial]:
    """Learn from all of the saved split but its test part, judge by that; the same each time."""
    tested = (table["part"] == "test").to_numpy()
    for repeat in range(repeats):
        yield _trial(table, "fixed", repeat, ~tested, tested)


def blocked(table: pd.DataFrame) -> Iterator[Trial]:
    """Judge each fifth of consecutive numbers of each class by the other four."""
    ranks = table.groupby("label")["number"].rank(method="first") - 1
    fold = (ranks * FOLDS // table.groupby("label")["number"].transform("size")).to_numpy()
    for number in range(FOLDS):
        yield _trial(table, "blocked", number, fold != number, fold == number)


def halves(table: pd.DataFrame, repeats: int, seed: int) -> Iterator[Trial]:
    """Draw half of each class to learn: 150 and 150 images, as the database's paper did."""
    half = int(table["label"].value_counts().min()) // 2
    for repeat in range(repeats):
        train = _draw(table, np.ones(len(table), bool), half, (seed, repeat))
        yield _trial(table, "halves", repeat, train, ~train)


def curve(table: pd.DataFrame, counts: list[int], draws: int, seed: int) -> Iterator[Trial]:
    """Draw a few images of each class to learn, outside the saved split's test part; judge by that.

    A count that takes all of them ends the curve.
    """
    tested = (table["part"] == "test").to_numpy()
    available = table["label"][~tested].value_counts().min()
    for count in sorted(counts):
        if count >= available:
            yield _trial(table, "curve", 0, ~tested, tested)
            break
        for repeat in range(draws):
            train = _draw(table, ~tested, count, (seed, count, repeat))
            yield _trial(table, "curve", repeat, train, tested)


def run(
    trials: Sequence[Trial],
    judge: Callable[[Trial], dict[str, np.ndarray]],
    numbers: np.ndarray,
    apply: Callable = map,
) -> pd.DataFrame:
    """Put a candidate through trials.

    Parameters
    ----------
    judge
        Returns, for each model that it stands for, the class numbers of a trial's test images.
    numbers
        True class numbers of all images.
    apply
        Applies the judge to the trials, results in order, as `workers.started` gives it.

    Returns
    -------
    One row a judged image: protocol, per_class, repeat, test_by_train (images), model, row (number
    of the image), hit.
    """
    rows = []
    for trial, answered in zip(trials, apply(judge, trials), strict=True):
        common = {
            "protocol": trial.protocol,
            "per_class": trial.per_class,
            "repeat": trial.repeat,
            "test_by_train": len(trial.test) / len(trial.train),
        }
        for model, answers in answered.items():
            hits = answers == numbers[trial.test]
            rows.append(pd.DataFrame(common | {"model": model, "row": trial.test, "hit": hits}))
    return pd.concat(rows, ignore_index=True)


def _draw(table: pd.DataFrame, among: np.ndarray, count: int, seed: tuple) -> np.ndarray:
    rows = table[among].groupby("label").sample(count, random_state=np.random.default_rng(seed))
    return table.index.isin(rows.index)


def _trial(table: pd.DataFrame, protocol: str, repeat: int, train, test) -> Trial:
    """Make a trial; a test image with the pixels of a training image is left out."""
    test = test & ~table["sha256"].isin(table.loc[train, "sha256"]).to_numpy()
    counts = table["label"][train].value_counts()
    if counts.size < table["label"].nunique() or not test.any():
        raise UserError(
            f"protocol {protocol!r} needs images to learn and to judge by of each class: "
            "add images, or leave it out"
        )
    return Trial(protocol, int(counts.max()), repeat, np.flatnonzero(train), np.flatnonzero(test))


def summary(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Summarise outcomes by protocol, images a class, and model.

    Parameters
    ----------
    outcomes
        As `run` returns them.

    Returns
    -------
    Columns protocol, per_class, model, repeats, accuracy (mean of the repeats), sd (of the
    repeats), low and high: the 95 % interval, Wilson's where each image is judged once, else
    Student's over the repeats; these share images, so it is narrower than new steel would have it.
    """
    keys = ["protocol", "per_class", "model"]
    most = outcomes.groupby("protocol")["per_class"].transform("max")
    counts = outcomes["per_class"].where(outcomes["protocol"] == "curve", most)
    outcomes = outcomes.assign(per_class=counts)  # folds may differ by an image
    return pd.DataFrame(
        dict(zip(keys, key, strict=True)) | _worth(key[0], rows)
        for key, rows in outcomes.groupby(keys, sort=False)
    )


def _worth(protocol: str, rows: pd.DataFrame) -> dict:
    accuracies = rows.groupby("repeat")["hit"].mean()
    mean, count = accuracies.mean(), len(accuracies)
    spread = accuracies.std() if count > 1 else np.nan
    if protocol in ONCE or count == 1:
        repeats = rows["repeat"].nunique() if protocol == "fixed" else 1
        low, high = wilson(round(rows["hit"].sum() / repeats), len(rows) // repeats)
    else:
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * spread / np.sqrt(count)
        low, high = mean - reach, min(mean + reach, 1.0)
    return {"repeats": count, "accuracy": mean, "sd": spread, "low": low, "high": high}


def neighbours(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Test each model against the next in the ranking of its protocol, on the same images.

    Where each image is judged once: McNemar's exact test on the images that only one of the two
    got right. Else: the corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003).

    Parameters
    ----------
    outcomes
        As `run` returns them.

    Returns
    -------
    Columns protocol, better, worse, difference (of the accuracies), p.
    """
    rows = []
    for protocol, part in outcomes[outcomes["protocol"] != "curve"].groupby("protocol", sort=False):
        hits = part.pivot_table("hit", ["repeat", "row"], "model", sort=False).dropna()
        ranking = hits.mean().sort_values(ascending=False, kind="stable").index
        for better, worse in itertools.pairwise(ranking):
            gap = hits[better] - hits[worse]
            p = (
                _mcnemar(gap.groupby("row").mean())
                if protocol in ONCE
                else _resampled(gap, part["test_by_train"].mean())
            )
            rows.append((protocol, better, worse, gap.mean(), p))
    return pd.DataFrame(rows, columns=["protocol", "better", "worse", "difference", "p"])


def _mcnemar(gap: pd.Series) -> float:
    """Count each image once, for the model that was right more often in its repeats."""
    gains, losses = int((gap > 0).sum()), int((gap < 0).sum())
    return stats.binomtest(gains, gains + losses).pvalue if gains + losses else 1.0


def _resampled(gap: pd.Series, test_by_train: float) -> float:
    means = gap.groupby("repeat").mean()
    count = len(means)
    variance = means.var() * (1 / count + test_by_train)
    if count < 2 or not variance:
        return np.nan
    return float(2 * stats.t.sf(abs(means.mean()) / np.sqrt(variance), count - 1))
