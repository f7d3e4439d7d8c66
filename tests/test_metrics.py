"""Figures whose right values are known."""

import numpy as np
import pandas as pd
import pytest

from nbutils import metrics
from nbutils.predictor import Prediction


@pytest.fixture
def predictions():
    """Three images of a, two of b; one a is called b."""
    images = pd.DataFrame({"path": list("vwxyz"), "label": list("aaabb"), "sha256": list("12345")})
    chances = [0.9, 0.8, 0.4, 0.3, 0.1]
    return metrics.prediction_table(images, [Prediction({"a": p, "b": 1 - p}) for p in chances])


def test_prediction_table(predictions):
    assert predictions["predicted"].tolist() == list("aabbb")
    assert predictions["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.6, 0.7, 0.9])
    assert predictions["p_a"].tolist() == [0.9, 0.8, 0.4, 0.3, 0.1]


def test_summary(predictions):
    found = metrics.summary(predictions)
    assert (found["images"], found["errors"], found["accuracy"]) == (5, 1, 0.8)
    right = [0.9, 0.8, 0.4, 0.7, 0.9]
    assert found["log_loss"] == pytest.approx(-np.log(right).mean())
    assert found["macro_f1"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 60, 0, 0.0601720), (60, 60, 0.9398280, 1), (0, 0, 0, 1)],
)
def test_wilson(hits, trials, low, high):
    assert metrics.wilson(hits, trials) == pytest.approx((low, high), abs=1e-6)


def test_confusion_and_classes(predictions):
    counts = metrics.confusion(predictions, ["a", "b"])
    assert counts.to_numpy().tolist() == [[2, 1], [0, 2]]
    table = metrics.by_class(counts)
    assert table["recall"].tolist() == pytest.approx([2 / 3, 1])
    assert table["precision"].tolist() == pytest.approx([1, 2 / 3])
    assert table["f1"].tolist() == pytest.approx([0.8, 0.8])
    for measure in ("precision", "recall", "f1"):
        assert (table[f"{measure}_low"] < table[measure]).all()
        assert (table[f"{measure}_high"] >= table[measure]).all()


def test_a_class_that_was_never_called():
    counts = pd.DataFrame([[0, 3], [0, 4]], index=["a", "b"], columns=["a", "b"])
    table = metrics.by_class(counts)
    assert np.isnan(table.loc["a", "precision"])
    assert table.loc["a", "f1"] == 0


def test_most_confused():
    classes = pd.Index(["a", "b", "c"])
    counts = pd.DataFrame(
        [[5, 1, 0], [0, 5, 3], [0, 0, 5]], classes.rename("true"), classes.rename("predicted")
    )
    found = metrics.most_confused(counts)
    assert found.to_numpy().tolist() == [["b", "c", 3], ["a", "b", 1]]
