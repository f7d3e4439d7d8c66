"""Measure predictions against true classes: accuracy, F1, calibration, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from nbutils import runs
from nbutils.artefacts import read_card
from nbutils.data import splits
from nbutils.disk import UserError
from nbutils.inference.prediction import Prediction
from nbutils.uncertainty.calibration import calibration_metrics

CONFIDENCE = 0.95  # of all intervals


def prediction_table(images: pd.DataFrame, predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Put predictions into a table: the columns of `Prediction.to_row`, and sha256.

    `images` has path, label (true class) and sha256, one row for each prediction.
    """
    facts = zip(predictions, images["path"], images["label"], strict=True)
    rows = [prediction.to_row(path, label) for prediction, path, label in facts]
    return pd.DataFrame(rows).assign(sha256=images["sha256"].to_numpy())


def read_predictions(model: Path) -> pd.DataFrame:
    """Read `predictions.csv` of a model's folder; UserError where it is missing."""
    return runs.read_csv(model / runs.PREDICTIONS)


def read_tested(model: Path) -> pd.DataFrame:
    """Read a model's predictions with number, width, height, boxes and part of the same images.

    Raises UserError if one is of an image that is not in the test part of the split as it is now.
    """
    predictions, split = read_predictions(model), splits.read_split(model.parent)
    tested = predictions.merge(split[split["part"] == "test"])
    if len(tested) < len(predictions):
        raise UserError(
            f"the split of {model.parent} has changed since {model.name} was tested: "
            f"run {runs.WRITTEN_BY[runs.PREDICTIONS]} again"
        )
    return tested


def leave_out_trained(models: Mapping[str, Path], split: pd.DataFrame) -> dict[str, Path]:
    """Return the models that were not trained on images that test now; print why others are not.

    A model of a run was trained on the images of its classes that it was not tested on. Those that
    ship were trained on the numbers of NEU-DET that `fixed` trains on. Raises UserError if none
    remains.
    """
    test = split[split["part"] == "test"]
    fit = {}
    for name, model in models.items():
        of_classes = test[test["label"].isin(read_card(model)["classes"])]
        if runs.ships(model):
            seen = splits.is_neu_det(split) & (of_classes["number"] <= splits.FIXED_LAST_TRAIN)
        elif (model / runs.PREDICTIONS).exists():
            seen = ~of_classes["path"].isin(read_predictions(model)["path"])
        else:
            seen = pd.Series(False, of_classes.index)
        if seen.any():
            print(f"{name} is left out: it was trained on {seen.sum()} of {len(test)} test images")
        else:
            fit[name] = model
    if not fit:
        raise UserError("each model was trained on test images: run 02_training for this split")
    return fit


def summarize(table: pd.DataFrame) -> dict:
    """Summarise a `prediction_table`.

    Returns
    -------
    images, errors, accuracy and its 95 % Wilson interval, balanced accuracy (mean recall of the
    classes), macro F1, negative log-likelihood (nats), mean confidence, expected calibration error,
    the share that is accepted, and errors among them.
    """
    measured = calibration_metrics(*arrays(table))
    true, predicted = table["label"], table["predicted"]
    correct, accepted = true == predicted, table["decision"] == "accept"
    return {
        "images": len(table),
        "errors": int((~correct).sum()),
        "accuracy": correct.mean(),
        "accuracy_interval": wilson(int(correct.sum()), len(table)),
        "balanced_accuracy": balanced_accuracy_score(true, predicted),
        "macro_f1": f1_score(true, predicted, average="macro"),
        "log_loss": measured["log_loss"],
        "mean_confidence": table["confidence"].mean(),
        "ece": measured["ece"],
        "accepted": accepted.mean(),
        "accepted_errors": int((accepted & ~correct).sum()),
    }


def headline(table: pd.DataFrame) -> str:
    """Say how accurate a `prediction_table` is: by classes too, where they are of unequal size."""
    found = summarize(table)
    text = f"accuracy {found['accuracy']:.2%}"
    if table["label"].value_counts().nunique() == 1:
        return text
    return (
        f"{text}, balanced accuracy {found['balanced_accuracy']:.2%}, "
        f"macro F1 {found['macro_f1']:.2%}"
    )


def arrays(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (images, classes) and class numbers of a table with `p_<class>`."""
    columns = table.filter(regex="^p_")
    return columns.to_numpy(float), columns.columns.get_indexer(pd.Index("p_" + table["label"]))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a proportion; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def confusion(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Count a `prediction_table`: rows the true classes, columns the predicted ones."""
    counts = confusion_matrix(table["label"], table["predicted"], labels=list(classes))
    return pd.DataFrame(counts, pd.Index(classes, name="true"), pd.Index(classes, name="predicted"))


def by_class(counts: pd.DataFrame) -> pd.DataFrame:
    """Compute precision, recall and F1 of each class from a confusion matrix, with intervals.

    Precision and recall have Wilson intervals. F1 is 2 J / (1 + J) with J the share of correct
    images among all that are or were predicted as the class; the Wilson interval of J, carried
    through, is the "indirect" one of Lam, Gopal and Qian (2023, arXiv:2309.14621).

    One row a class: images, and for each measure its value, `_low` and `_high`, in [0, 1].
    """
    actual, predicted = counts.sum(axis=1), counts.sum()
    correct = pd.Series(np.diag(counts), counts.index)
    trials = {"precision": predicted, "recall": actual, "f1": actual + predicted - correct}
    table = pd.DataFrame({"images": actual})
    for name, total in trials.items():
        intervals = [wilson(*pair) for pair in zip(correct, total, strict=True)]
        values = np.column_stack([correct / total, intervals])
        ends = [name, f"{name}_low", f"{name}_high"]
        table[ends] = 2 * values / (1 + values) if name == "f1" else values
    return table.rename_axis("class")


def most_confused(counts: pd.DataFrame) -> pd.DataFrame:
    """Return the mistakes of a confusion matrix: true, predicted, images; most frequent first."""
    pairs = counts.reset_index().melt("true", var_name="predicted", value_name="images")
    wrong = pairs[(pairs["true"] != pairs["predicted"]) & (pairs["images"] > 0)]
    return wrong.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def format_intervals(values: pd.Series, low: pd.Series, high: pd.Series) -> pd.Series:
    """Return shares with their intervals as text, `99.72% (98.4% to 100.0%)`."""
    rows = zip(values, low, high, strict=True)
    return pd.Series([f"{value:.2%} ({a:.1%} to {b:.1%})" for value, a, b in rows], values.index)


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown, its index as the first column."""
    head = [table.index.name or "", *table.columns]
    lines = [head, ["---"] * len(head), *table.itertuples(name=None)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
