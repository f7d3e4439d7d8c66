"""Evaluation protocols: which images train and which test, and statistics of the outcomes."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from nbutils.data.splits import groups_of
from nbutils.disk import UserError
from nbutils.evaluation.metrics import CONFIDENCE, wilson
from nbutils.runs import parse_list

N_FOLDS = 5  # of the blocked cross-validation
FIXED, BLOCKED, HOLDOUT, CURVE = "fixed", "blocked", "repeated_holdout", "learning_curve"
MIN_TRAIN = 2  # training images of a class, since the penalty of the SVM is chosen within them
EQUAL = 1e-12  # range of differences that are equal but for rounding
SINGLE_TEST = (FIXED, BLOCKED)  # protocols that test each image once, whatever their repeats
Candidate = Callable[["Fold"], np.ndarray]  # class numbers that it predicts for the test images


@dataclass(frozen=True)
class Fold:
    """One division of the images into row numbers of training and of test images."""

    protocol: str
    n_per_class: int  # training images of the largest class
    repeat: int
    train: np.ndarray
    test: np.ndarray


def fixed(table: pd.DataFrame, repeats: int = 1) -> Iterator[Fold]:
    """Train on the saved split but its test part, and test on that; each repeat is the same."""
    is_test = (table["part"] == "test").to_numpy()
    for repeat in range(repeats):
        yield _fold(table, FIXED, repeat, ~is_test, is_test)


def blocked(table: pd.DataFrame) -> Iterator[Fold]:
    """Test on each fifth of consecutive numbers of each class, and train on the other four.

    An image of a group (`splits.find_groups`) is in the fifth of its first one.
    """
    ranks = table.groupby("label")["number"].rank(method="first") - 1
    fold = (ranks * N_FOLDS // table.groupby("label")["number"].transform("size")).to_numpy()
    fold = pd.Series(fold).groupby(groups_of(table)).transform("first").to_numpy()
    for number in range(N_FOLDS):
        yield _fold(table, BLOCKED, number, fold != number, fold == number)


def repeated_holdout(table: pd.DataFrame, repeats: int, seed: int) -> Iterator[Fold]:
    """Draw half of each class to train on: 150 and 150 images, as the database's paper did."""
    halves = table["label"].map(table["label"].value_counts() // 2)
    for repeat in range(repeats):
        train = _draw(table, np.ones(len(table), bool), halves, (seed, repeat))
        yield _fold(table, HOLDOUT, repeat, train, ~train)


def learning_curve(
    table: pd.DataFrame, sizes: Sequence[int], n_draws: int, seed: int
) -> Iterator[Fold]:
    """Draw a few images of each class outside the saved test part, and test on that part.

    A size that takes all of them ends the curve.
    """
    is_test = (table["part"] == "test").to_numpy()
    available = table["label"][~is_test].value_counts().min()
    for size in sorted(sizes):
        if size >= available:
            yield _fold(table, CURVE, 0, ~is_test, is_test)
            break
        for repeat in range(n_draws):
            train = _draw(table, ~is_test, size, (seed, size, repeat))
            yield _fold(table, CURVE, repeat, train, is_test)


def make_folds(protocols: dict[str, Iterator[Fold]]) -> dict[str, list[Fold]]:
    """Make the folds of protocols; one that has none, or too few images, is left out and named."""
    folds = {}
    for protocol, iterator in protocols.items():
        try:
            if listed := list(iterator):
                folds[protocol] = listed
            else:
                print(f"protocol {protocol!r} has nothing to draw and is left out")
        except UserError as error:
            print(error)
    if not folds:
        raise UserError("no protocol is left: add images, or raise N_REPEATS and N_DRAWS")
    return folds


def parse_sizes(text: str) -> list[int]:
    """Return the training images of each class that `TRAIN_SIZES` names."""
    words = parse_list(text)
    if not all(word.isdecimal() and int(word) >= MIN_TRAIN for word in words):
        raise UserError(
            f"TRAIN_SIZES {text!r}: give numbers of images, {MIN_TRAIN} at least, comma between"
        )
    return [int(word) for word in words]


def run(
    folds: Sequence[Fold],
    model: str,
    candidate: Candidate,
    y: np.ndarray,
    apply: Callable = map,
) -> pd.DataFrame:
    """Train and test a candidate, by its name, on folds; y are the class numbers of all images.

    `apply` applies the candidate to the folds, results in order, as `parallel_map`. One row for
    each tested image: protocol, n_per_class, repeat, test_by_train (ratio of the images), model,
    row (number of the image), y, correct (bool).
    """
    tables = [
        pd.DataFrame(
            {
                "protocol": fold.protocol,
                "n_per_class": fold.n_per_class,
                "repeat": fold.repeat,
                "test_by_train": len(fold.test) / len(fold.train),
                "model": model,
                "row": fold.test,
                "y": y[fold.test],
                "correct": predicted == y[fold.test],
            }
        )
        for fold, predicted in zip(folds, apply(candidate, folds), strict=True)
    ]
    return pd.concat(tables, ignore_index=True)


def summarize(per_image: pd.DataFrame) -> pd.DataFrame:
    """Summarise what `run` returns by protocol, training images a class, and model.

    Columns are these, repeats, accuracy (mean of the repeats), sd (of the repeats), low and high:
    the 95 % interval, Wilson's where each image is tested once, else Student's over the repeats,
    and at least Wilson's of one of them; they share images, so it is narrower than that for new
    steel. And balanced_accuracy: the mean
    recall of the classes, each over all repeats.
    """
    keys = ["protocol", "n_per_class", "model"]
    largest = per_image.groupby("protocol")["n_per_class"].transform("max")
    sizes = per_image["n_per_class"].where(per_image["protocol"] == CURVE, largest)
    per_image = per_image.assign(n_per_class=sizes)  # folds may differ by an image
    return pd.DataFrame(
        dict(zip(keys, key, strict=True)) | _accuracy(str(key[0]), rows)
        for key, rows in per_image.groupby(keys, sort=False)
    )


def pairwise_tests(per_image: pd.DataFrame) -> pd.DataFrame:
    """Test each model against the next in the ranking of its protocol, on the same images.

    Where each image is tested once: McNemar's exact test on the images that only one of the two
    classifies correctly. Where that is repeated with other seeds, a model is correct on an image if
    the majority of its repeats is; an image on which they tie counts for neither model. Else: the
    corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003). The learning curve is
    passed over.

    Columns are protocol, better, worse, difference (of the accuracies), p.
    """
    rows = []
    tested = per_image[per_image["protocol"] != CURVE]
    for protocol, part in tested.groupby("protocol", sort=False):
        correct = part.pivot_table("correct", ["repeat", "row"], "model", sort=False).dropna()
        ranking = correct.mean().sort_values(ascending=False, kind="stable").index
        for better, worse in itertools.pairwise(ranking):
            difference = correct[better] - correct[worse]
            if protocol in SINGLE_TEST:
                p = _mcnemar(correct[better], correct[worse])
            else:
                p = _resampled_t_test(difference, part["test_by_train"].mean())
            rows.append((protocol, better, worse, difference.mean(), p))
    return pd.DataFrame(rows, columns=["protocol", "better", "worse", "difference", "p"])


def _draw(
    table: pd.DataFrame, among: np.ndarray, count: int | pd.Series, seed: tuple
) -> np.ndarray:
    """Draw images of each class: bool, group by group, of which the last may be cut.

    How many is a number, or one for each row.
    """
    rng = np.random.default_rng(seed)
    groups = groups_of(table)
    order = pd.Series(rng.permutation(groups.max() + 1)[groups], table.index)
    is_drawn = order[among].groupby(table["label"][among]).rank(method="first").le(count)
    return table.index.isin(is_drawn.index[is_drawn])


def _fold(
    table: pd.DataFrame, protocol: str, repeat: int, train: np.ndarray, test: np.ndarray
) -> Fold:
    """Make a fold; a test image of the group of a training image is left out."""
    groups = groups_of(table)
    test = test & ~np.isin(groups, groups[train])
    counts = table["label"][train].value_counts()
    if counts.size < table["label"].nunique() or counts.min() < MIN_TRAIN or not test.any():
        raise UserError(
            f"protocol {protocol!r} needs images of each class to train on, {MIN_TRAIN} at least, "
            "and images to test on: add images, or leave it out"
        )
    return Fold(protocol, int(counts.max()), repeat, np.flatnonzero(train), np.flatnonzero(test))


def _accuracy(protocol: str, rows: pd.DataFrame) -> dict:
    accuracies = rows.groupby("repeat")["correct"].mean()
    mean, count = accuracies.mean(), len(accuracies)
    deviation = accuracies.std() if count > 1 else np.nan
    repeats = 1 if protocol in SINGLE_TEST and protocol != FIXED else count
    low, high = wilson(round(rows["correct"].sum() / repeats), len(rows) // repeats)
    if protocol in SINGLE_TEST:
        mean = rows["correct"].mean()  # of folds that differ in size
    elif count > 1:
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * deviation / np.sqrt(count)
        low, high = max(min(low, mean - reach), 0.0), min(max(high, mean + reach), 1.0)
    return {
        "repeats": count,
        "accuracy": mean,
        "sd": deviation,
        "low": low,
        "high": high,
        "balanced_accuracy": rows.groupby("y")["correct"].mean().mean(),
    }


def _mcnemar(better: pd.Series, worse: pd.Series) -> float:
    """Return the p-value of two models that are correct or not (indices repeat and row)."""
    first, second = (correct.groupby("row").mean() - 0.5 for correct in (better, worse))
    gains = int(((first > 0) & (second < 0)).sum())
    losses = int(((first < 0) & (second > 0)).sum())
    return float(stats.binomtest(gains, gains + losses).pvalue) if gains + losses else 1.0


def _resampled_t_test(difference: pd.Series, test_by_train: float) -> float:
    """Return the p-value of differences (index repeat); NaN where they do not vary."""
    means = difference.groupby("repeat").mean()
    count = len(means)
    if count < 2 or np.ptp(means) < EQUAL:
        return np.nan
    variance = means.var() * (1 / count + test_by_train)
    return float(2 * stats.t.sf(abs(means.mean()) / np.sqrt(variance), count - 1))
