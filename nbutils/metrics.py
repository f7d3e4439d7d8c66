"""What predictions are worth, with intervals."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss

from nbutils import calibration, paths, splits
from nbutils.paths import UserError
from nbutils.predictor import Prediction

CONFIDENCE = 0.95  # of all intervals


def prediction_table(images: pd.DataFrame, predictions: list[Prediction]) -> pd.DataFrame:
    """Put predictions beside the images they are of.

    Returns
    -------
    The columns path, label, sha256 of `images`; then predicted, confidence, verdict, novelty,
    candidates (joined by `;`), and `p_<class>` for each class.
    """
    table = images[["path", "label", "sha256"]].reset_index(drop=True)
    table["predicted"] = [prediction.label for prediction in predictions]
    for name in ("confidence", "verdict", "novelty"):
        table[name] = [getattr(prediction, name) for prediction in predictions]
    table["candidates"] = [";".join(prediction.candidates) for prediction in predictions]
    chances = pd.DataFrame([prediction.probabilities for prediction in predictions])
    return table.join(chances.add_prefix("p_"))


def read_predictions(run: Path) -> pd.DataFrame:
    """Read a run's `predictions.csv`; UserError where it is missing."""
    return paths.read_csv(paths.require(run / "predictions.csv", "02_training"))


def read_tested(run: Path) -> pd.DataFrame:
    """Read a run's predictions beside its split: boxes, sizes and parts of the images.

    Raises UserError where a prediction is not of an image of today's test part.
    """
    predictions, split = read_predictions(run), splits.read_split(run)
    tested = predictions.merge(split[split["part"] == "test"])
    if len(tested) < len(predictions):
        raise UserError(f"{run} was split anew since it was judged: run 02_training again")
    return tested


def summary(table: pd.DataFrame) -> dict:
    """Summarise a `prediction_table`.

    Returns
    -------
    images, errors, accuracy and its 95 % Wilson interval, macro F1, negative log-likelihood (nats),
    mean confidence, expected calibration error, the share that is accepted, and errors among them.
    """
    chances = table.filter(like="p_")
    classes = [column.removeprefix("p_") for column in chances]
    numbers = table["label"].map(classes.index).to_numpy()
    right = table["label"] == table["predicted"]
    hits = int(right.sum())
    return {
        "images": len(table),
        "errors": len(table) - hits,
        "accuracy": accuracy_score(table["label"], table["predicted"]),
        "accuracy_interval": wilson(hits, len(table)),
        "macro_f1": f1_score(table["label"], table["predicted"], average="macro"),
        "log_loss": log_loss(table["label"], chances.to_numpy(float), labels=classes),
        "mean_confidence": table["confidence"].mean(),
        "ece": calibration.measures(chances.to_numpy(float), numbers)["ece"],
        "accepted": (table["verdict"] == "accept").mean(),
        "accepted_errors": int(((table["verdict"] == "accept") & ~right).sum()),
    }


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a proportion; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(hits, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def confusion(table: pd.DataFrame, classes: list[str]) -> pd.DataFrame:
    """Count a `prediction_table`: rows the true classes, columns the predicted ones."""
    counts = confusion_matrix(table["label"], table["predicted"], labels=classes)
    return pd.DataFrame(counts, pd.Index(classes, name="true"), pd.Index(classes, name="predicted"))


def by_class(counts: pd.DataFrame) -> pd.DataFrame:
    """Compute precision, recall and F1 of each class from a confusion matrix.

    Precision and recall have Wilson intervals. F1 is 2 J / (1 + J) with J the share of hits among
    all images that are or were called the class; the Wilson interval of J, carried through, is
    the "indirect" one of Lam, Gopal and Qian (2023, arXiv:2309.14621).

    Returns
    -------
    One row a class: images, and for each measure its value, `_low` and `_high`, in [0, 1].
    """
    rows = {}
    for label in counts.index:
        hits = int(counts.loc[label, label])
        actual, called = int(counts.loc[label].sum()), int(counts[label].sum())
        union = actual + called - hits
        row = {"images": actual}
        for name, trials in (("precision", called), ("recall", actual)):
            row |= _with_interval(name, hits / trials if trials else np.nan, wilson(hits, trials))
        low, high = (2 * share / (1 + share) for share in wilson(hits, union))
        rows[label] = row | _with_interval("f1", 2 * hits / max(union + hits, 1), (low, high))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")


def most_confused(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the mistakes of a confusion matrix: true, predicted, images; most frequent first."""
    pairs = counts.stack().rename("images").reset_index()
    wrong = pairs[(pairs["true"] != pairs["predicted"]) & (pairs["images"] > 0)]
    return wrong.sort_values("images", ascending=False, ignore_index=True)


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name}_low": interval[0], f"{name}_high": interval[1]}
