"""Metrics whose right values are known."""

import shutil

import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.data.labels import NEU_CLASSES
from nbutils.disk import UserError
from nbutils.evaluation import metrics
from nbutils.inference.prediction import Prediction, row_columns


@pytest.fixture
def predictions():
    """Four images of a, two of b; two of a are called b, one of these is accepted."""
    images = pd.DataFrame(
        {"path": list("uvwxyz"), "label": list("aaaabb"), "sha256": list("123456")},
        index=range(10, 16),
    )
    reasons = [(), (), (), ("low",), (), ("low",)]
    return metrics.prediction_table(
        images,
        [
            Prediction({"a": p, "b": 1 - p}, 1.0, ("a", "b"), reason)
            for p, reason in zip((0.9, 0.8, 0.4, 0.2, 0.3, 0.1), reasons, strict=True)
        ],
    )


def test_a_prediction_table_has_the_columns_of_every_table(predictions):
    assert list(predictions) == [*row_columns("ab"), "sha256"]
    assert predictions["predicted"].tolist() == list("aabbbb")
    assert predictions["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.6, 0.8, 0.7, 0.9])
    assert predictions["sha256"].tolist() == list("123456")


def test_summary(predictions):
    summary = metrics.summarize(predictions)
    assert (summary["images"], summary["errors"], summary["accuracy"]) == (6, 2, 4 / 6)
    assert summary["balanced_accuracy"] == pytest.approx((2 / 4 + 2 / 2) / 2)
    assert summary["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert summary["accuracy_interval"] == metrics.wilson(4, 6)
    assert summary["log_loss"] == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.2, 0.7, 0.9]).mean())
    assert (summary["accepted"], summary["accepted_errors"]) == (4 / 6, 1)


def test_the_headline_counts_by_classes_where_these_are_unequal(predictions):
    assert metrics.headline(predictions) == (
        "accuracy 66.67%, balanced accuracy 75.00%, macro F1 66.67%"
    )
    assert metrics.headline(predictions.tail(4)) == "accuracy 50.00%"  # two images of each


def test_predictions_are_read_as_they_were_written(predictions, tmp_path):
    runs.write_csv(predictions, tmp_path / runs.PREDICTIONS)
    read = metrics.read_predictions(tmp_path)
    pd.testing.assert_frame_equal(read, predictions, check_dtype=False, check_column_type=False)
    assert metrics.summarize(read) == metrics.summarize(predictions)


def test_predictions_are_read_with_what_the_split_says(split, run, tmp_path):
    test = split[split["part"] == "test"]
    classes = sorted(split["label"].unique())
    uniform = Prediction(dict.fromkeys(classes, 1 / len(classes)))
    table = metrics.prediction_table(test, [uniform] * len(test))
    shutil.copy(run / runs.SPLIT, tmp_path)
    model = runs.create_model(tmp_path, "uniform")
    runs.write_csv(table, model / runs.PREDICTIONS)
    tested = metrics.read_tested(model)
    assert tested["path"].tolist() == test["path"].tolist()
    assert tested["boxes"].tolist() == test["boxes"].tolist()
    table.loc[0, "path"] = split.loc[split["part"] == "train", "path"].iloc[0]
    runs.write_csv(table, model / runs.PREDICTIONS)
    with pytest.raises(UserError, match="has changed since uniform was tested: run 02_training"):
        metrics.read_tested(model)
    with pytest.raises(UserError, match=r"predictions\.csv is missing: run 02_training"):
        metrics.read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 60, 0, 0.0601720), (60, 60, 0.9398280, 1), (0, 0, 0, 1)],
)
def test_wilson(successes, trials, low, high):
    assert metrics.wilson(successes, trials) == pytest.approx((low, high), abs=1e-6)


def test_confusion_and_classes(predictions):
    counts = metrics.confusion(predictions, ["a", "b"])
    assert counts.to_numpy().tolist() == [[2, 2], [0, 2]]
    table = metrics.by_class(counts)
    assert table["recall"].tolist() == pytest.approx([2 / 4, 1])
    assert table["precision"].tolist() == pytest.approx([1, 2 / 4])
    assert table["f1"].tolist() == pytest.approx([2 / 3, 2 / 3])
    for measure in ("precision", "recall", "f1"):
        assert (table[f"{measure}_low"] < table[measure]).all()
        assert (table[f"{measure}_high"] >= table[measure]).all()


def test_a_class_that_was_never_predicted():
    counts = pd.DataFrame([[0, 3], [0, 4]], index=["a", "b"], columns=["a", "b"])
    table = metrics.by_class(counts)
    assert np.isnan(table.loc["a", "precision"])
    assert table.loc["a", "f1"] == 0


def test_most_confused():
    classes = pd.Index(["a", "b", "c"])
    counts = pd.DataFrame(
        [[5, 1, 0], [0, 5, 3], [0, 0, 5]], classes.rename("true"), classes.rename("predicted")
    )
    table = metrics.most_confused(counts)
    assert table.to_numpy().tolist() == [["b", "c", 3], ["a", "b", 1]]


def test_a_model_that_was_trained_on_images_that_test_now_is_left_out(trained, split, tmp_path):
    model = tmp_path / "run/custom_cnn"
    shutil.copytree(trained, model)
    test = split[split["part"] == "test"]
    runs.write_csv(test[["path", "label"]], model / runs.PREDICTIONS)
    assert metrics.leave_out_trained({"cnn": model}, split) == {"cnn": model}
    runs.write_csv(test[["path", "label"]][1:], model / runs.PREDICTIONS)
    with pytest.raises(UserError, match="run 02_training for this split"):
        metrics.leave_out_trained({"cnn": model}, split)


def test_a_model_that_ships_was_trained_on_the_first_numbers_of_neu_det(capsys):
    shipped = {"one": runs.SHIPPED / "mobilenet_v2"}
    rows = [(label, number) for label in NEU_CLASSES for number in range(1, 301)]
    table = pd.DataFrame(rows, columns=["label", "number"]).assign(path="x")
    fixed = table.assign(part=np.where(table["number"] > 240, "test", "train"))
    assert metrics.leave_out_trained(shipped, fixed) == shipped
    other = table.assign(part=np.where(table["number"] % 5 == 0, "test", "train"))
    with pytest.raises(UserError, match="each model was trained on test images"):
        metrics.leave_out_trained(shipped, other)
    assert "was trained on 288 of 360 test images" in capsys.readouterr().out
