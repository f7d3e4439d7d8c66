"""Open-set metrics, robustness and latency, where the right values are known."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.data import corruptions, datasets
from nbutils.disk import UserError
from nbutils.evaluation import latency, open_set, robustness
from nbutils.inference.predictor import load_predictor


@pytest.mark.parametrize(
    ("known", "novel", "auroc", "fpr95"),
    [
        ([1, 2, 3], [4, 5, 6], 1, 0),
        ([4, 5, 6], [1, 2, 3], 0, 1),
        ([1, 1, 1], [1, 1, 1], 0.5, 1),
        ([1, 2, 3, 4], [2.5, 3.5, 4.5, 5.5], 13 / 16, 0.5),
        # one of 20 novel images may be missed: the threshold is 2, and 2 of 4 known pass it
        ([0, 1, 2, 3], [0.5, *range(2, 21)], (19 * 2 + 0.5 + 18 + 1 + 17 + 0.5) / 80, 0.5),
    ],
)
def test_ood_metrics(known, novel, auroc, fpr95):
    metrics = open_set.ood_metrics(np.array(known, float), np.array(novel, float))
    assert metrics == pytest.approx({"auroc": auroc, "fpr95": fpr95})


def test_groups_are_separated_from_the_first():
    table = pd.DataFrame(
        {
            "group": ["test"] * 3 + ["noise"] * 2,
            "novelty": [1.0, 1.2, 3.0, 2.0, 4.0],
            "accepted": [True, True, False, False, False],
            "confidence": [1.0, 0.9, 0.8, 0.5, 0.7],
        }
    )
    summary = open_set.summarize(table)
    assert summary.loc["test"].tolist()[:3] == pytest.approx([3, 2 / 3, 0.9])
    assert summary.loc["test", ["auroc", "fpr95"]].isna().all()
    assert summary.loc["noise"].tolist() == pytest.approx([2, 0, 0.6, 5 / 6, 1 / 3])


def test_images_without_steel(gray):
    for name, images in open_set.blank_images(seed=0, count=3).items():
        assert [image.shape for image in images] == [(200, 200)] * 3, name
        assert {image.dtype for image in images} == {np.dtype(np.uint8)}
    natural = open_set.natural_images()
    assert {image.shape for image in natural} == {(200, 200)}
    families = len(corruptions.FAMILIES)
    corrupted = open_set.corrupted_images([gray] * (families + 1), seed=0)
    assert len(corrupted) == families + 1
    assert all((image != gray).any() for image in corrupted)


@pytest.mark.parametrize(
    ("scores", "wrong", "aurc", "reviewed"),
    [
        ([1, 2, 3, 4], [0, 0, 0, 1], (0 + 0 + 0 + 1 / 4) / 4, 0.25),
        ([4, 3, 2, 1], [0, 0, 0, 1], (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, 1.0),
        ([1, 1, 1, 1], [0, 0, 0, 1], 1 / 4, 1.0),
        ([1, 2, 2, 3], [0, 0, 1, 1], (0 + 1 / 3 + 1 / 3 + 2 / 4) / 4, 0.75),
        ([2, 1, 3, 4], [0, 0, 0, 0], 0.0, 0.0),
    ],
)
def test_answers_are_accepted_from_the_lowest_score_on(scores, wrong, aurc, reviewed):
    metrics = open_set.selective_metrics(np.array(scores, float), np.array(wrong, bool))
    assert metrics["reviewed"] == reviewed
    assert metrics["aurc"] == pytest.approx(aurc)


def test_a_held_out_class_is_scored_in_every_way(trained, split):
    predictor = load_predictor(trained, "keras")
    with pytest.raises(UserError, match="without 0 classes: name models"):
        open_set.leave_one_class_out(predictor, split, seed=0)
    with_novel = split.assign(label=split["label"].replace("patches", "dent"))
    predictor.policy, policy = None, predictor.policy
    with pytest.raises(UserError, match="has no thresholds"):
        open_set.leave_one_class_out(predictor, with_novel, seed=0)
    predictor.policy = policy
    table = open_set.leave_one_class_out(predictor, with_novel, seed=0)
    assert table["score"].tolist()[-3:] == [open_set.NOVELTY, open_set.RISK, open_set.ALL_SCORES]
    assert table[["auroc", "fpr95", "aurc", "reviewed"]].to_numpy().min() >= 0
    assert table[["auroc", "fpr95", "aurc", "reviewed"]].to_numpy().max() <= 1
    assert table["held_out_class"].tolist() == ["dent"] * len(table)


def test_predictions_of_groups_are_those_of_the_predictor(trained, gray):
    predictor = load_predictor(trained)
    accepting = replace(predictor.policy.thresholds, confidence=0.0, novelty=1e6)
    predictor.policy = replace(predictor.policy, thresholds=accepting)
    grays = [gray, np.full_like(gray, 128), 255 - gray]
    table = open_set.predict_groups(predictor, {"one": grays[:1], "two": grays[1:]})
    assert table["group"].tolist() == ["one", "two", "two"]
    assert table["accepted"].tolist() == [True, False, True], "a blank picture is reviewed"
    expected = [prediction.novelty for prediction in predictor.predict_images(grays)]
    assert table["novelty"].tolist() == pytest.approx(expected, rel=1e-4)


@pytest.fixture(scope="module")
def outputs_of_models(trained, split):
    """Outputs of a model under its name and another, on three images."""
    predictor = load_predictor(trained)
    test = split[split["part"] == "test"].groupby("label").head(1)[:3]
    grays = datasets.read_originals(test)
    models = {"one": predictor, "two": predictor}
    return robustness.measure(models, grays, test["label"], seed=0), predictor.policy


def test_every_condition_is_measured_on_the_same_images(outputs_of_models):
    outputs, policy = outputs_of_models
    pd.testing.assert_frame_equal(outputs["one"], outputs["two"], rtol=1e-3)
    table = robustness.by_condition(outputs["one"], policy.thresholds.temperature)
    n_families = len(corruptions.FAMILIES)
    assert len(table) == len(robustness.conditions()) == 1 + 5 * n_families + 4
    assert table.groupby("family", sort=False)["severity"].max().tolist()[:2] == [0, 5]
    white = table[table["family"] == robustness.WHITE_NOISE]
    assert white["snr_db"].tolist() == list(robustness.SNRS)
    assert white["severity"].isna().all()
    assert table.loc[table["family"] != robustness.WHITE_NOISE, "snr_db"].isna().all()
    summary = robustness.summarize(table)
    assert summary["clean"] == table["accuracy"][0]
    assert summary["20 dB"] == table["accuracy"].iloc[-1]
    assert summary["worst condition"] <= summary["all families"]


def test_tables_of_clean_and_corrupted_images(outputs_of_models):
    outputs, policy = outputs_of_models
    calibrated = robustness.calibration_table(outputs["one"], policy.thresholds.temperature)
    assert calibrated.index.tolist() == [
        (images, step) for images in ("clean", "corrupted") for step in ("before", "after")
    ]
    coverage = robustness.coverage_table(outputs["one"], policy)
    whole = coverage[(coverage["class"] == "all") & (coverage["target_coverage"] == 90)]
    assert whole["count"].tolist() == [3, 3 * 5 * len(corruptions.FAMILIES)]


def test_wrong_accepted_are_errors_that_nobody_sees():
    condition = {"family": ["clean"] * 4, "severity": [0] * 4, "snr_db": [pd.NA] * 4}
    facts = {"label": list("aabb"), "decision": ["accept", "accept", "accept", "review"]}
    p = np.array([0.9, 0.2, 0.1, 0.8])
    table = robustness.by_condition(pd.DataFrame({**condition, **facts, "p_a": p, "p_b": 1 - p}), 1)
    row = table.iloc[0]
    assert (row["accuracy"], row["reviewed"], row["wrong_accepted"]) == (0.5, 0.25, 0.25)


def test_latency_is_measured_in_processes_of_their_own(trained, stand_in, monkeypatch):
    monkeypatch.setattr(latency, "N_COLD_STARTS", 1)
    monkeypatch.setattr(latency, "BATCH_SIZE", 4)
    files = sorted(stand_in.rglob("*.jpg"))[:2]
    loader = partial(latency.load_model, str(trained), "litert")
    [row] = latency.measure({"one": loader}, files, rounds=2).itertuples()
    assert row.Index == "one"
    assert 0 < row.latency_ms / 1000 < row.cold_start_s
    assert row.batch_ms > 0
    assert 20 < row.memory_mb < 500, "TensorFlow alone holds more"


def test_the_benchmark_compares_backends_with_plain_keras(trained, stand_in, tmp_path, monkeypatch):
    data = next(stand_in.rglob("*.jpg")).read_bytes()

    def measure(loaders, files, rounds):
        predictions = {name: load()([data, data]) for name, load in loaders.items()}
        assert {len(each) for each in predictions.values()} == {2}
        times = {"latency_ms": [60.0, 10.0, 2.0], "batch_ms": [60.0, 6.0, 1.0]}
        return pd.DataFrame(times, index=list(predictions))

    monkeypatch.setattr(latency, "measure", measure)
    table = latency.benchmark(trained, [], rounds=2)
    assert table["backend"].tolist() == [latency.BASELINE, "keras", "litert"]
    assert table["speedup"].tolist() == [1, 6, 30]
    assert table["batch_speedup"].tolist() == [1, 10, 60]
    shutil.copy(trained / runs.KERAS_MODEL, tmp_path)
    with pytest.raises(UserError, match="run steel export"):
        latency.benchmark(tmp_path, [], rounds=2)
