"""Who learns and who judges, what outcomes are worth, and the candidates."""

import numpy as np
import pandas as pd
import pytest

from nbutils import (
    advice,
    candidates,
    comparison,
    cost,
    models,
    protocols,
    texture,
    training,
    transfer,
)
from nbutils.paths import UserError


def images(per_class=20):
    """Rows of a split of two classes; b_20 has the pixels of b_1."""
    rows = [
        (f"{label}_{number}", label, number, "test" if number > 15 else "train")
        for label in "ab"
        for number in range(1, per_class + 1)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "number", "part"])
    table["sha256"] = table["path"].replace("b_20", "b_1")
    return table


def plans(table):
    yield from protocols.fixed(table)
    yield from protocols.blocked(table)
    yield from protocols.halves(table, repeats=3, seed=0)
    yield from protocols.curve(table, [2, 5, 15, 99], draws=2, seed=0)


def test_no_image_and_no_copy_is_on_both_sides():
    table = images()
    for trial in plans(table):
        learned = set(table["sha256"].iloc[trial.train])
        assert not learned & set(table["sha256"].iloc[trial.test])
        assert set(table["label"].iloc[trial.train]) == {"a", "b"}
        assert trial.per_class == table["label"].iloc[trial.train].value_counts().max()


def test_folds_are_runs_of_numbers_and_judge_each_image_once():
    table = images().assign(sha256=lambda rows: rows["path"])
    folds = [trial.test for trial in protocols.blocked(table)]
    assert sorted(np.concatenate(folds)) == list(range(40))
    for fold in folds:
        for _, numbers in table.iloc[fold].groupby("label")["number"]:
            assert numbers.max() - numbers.min() == 3


def test_halves_differ_by_repeat_and_are_the_same_for_a_seed():
    table = images()
    first, again = (list(protocols.halves(table, 2, seed=1)) for _ in range(2))
    assert np.array_equal(first[0].train, again[0].train)
    assert not np.array_equal(first[0].train, first[1].train)
    assert table["label"].iloc[first[0].train].value_counts().tolist() == [10, 10]


def test_the_curve_learns_outside_the_test_part_and_ends_with_all_of_it():
    table = images()
    trials = list(protocols.curve(table, [5, 2, 15, 99], draws=2, seed=0))
    assert [trial.per_class for trial in trials] == [2, 2, 5, 5, 15]
    for trial in trials:
        assert (table["part"].iloc[trial.train] == "train").all()
        assert (table["part"].iloc[trial.test] == "test").all()


def test_a_protocol_without_images_to_judge_by_says_so():
    with pytest.raises(UserError, match="'fixed' needs images"):
        list(protocols.fixed(images().assign(part="train")))


def perfect(trial):
    return {"perfect": (trial.test >= 20).astype(int), "never": np.full(len(trial.test), 9)}


NUMBERS = np.repeat([0, 1], 20)


def test_outcomes_are_worth_their_hits():
    outcomes = protocols.run(list(protocols.halves(images(), 3, 0)), perfect, NUMBERS)
    worth = protocols.summary(outcomes).set_index("model")
    assert worth.loc["perfect", ["repeats", "accuracy", "sd"]].tolist() == [3, 1, 0]
    assert worth.loc["never", "accuracy"] == 0


def test_intervals_count_each_image_once():
    table = images()
    outcomes = protocols.run(list(protocols.fixed(table, 3)), perfect, NUMBERS)
    thrice = protocols.summary(outcomes).set_index("model").loc["perfect"]
    once = protocols.summary(outcomes[outcomes["repeat"] == 0]).set_index("model").loc["perfect"]
    assert thrice["low"] == once["low"] < 1


def test_neighbours_are_tested_on_the_same_images():
    trials = list(protocols.blocked(images()))
    tests = protocols.neighbours(protocols.run(trials, perfect, NUMBERS)).iloc[0]
    assert (tests["better"], tests["worse"], tests["difference"]) == ("perfect", "never", 1)
    thrice = protocols.run(list(protocols.fixed(images(), 3)), perfect, NUMBERS)
    once = thrice[thrice["repeat"] == 0]
    assert protocols.neighbours(thrice)["p"][0] == protocols.neighbours(once)["p"][0]
    assert tests["p"] == pytest.approx(2 * 0.5**38)  # McNemar: all but the two copies, one way


def test_resampled_test_widens_with_the_overlap_of_the_repeats():
    repeats = np.repeat([0, 1, 2], 40)
    gap = pd.Series((np.tile(np.arange(40), 3) < 5 * repeats + 5).astype(int))
    gap.index = pd.MultiIndex.from_arrays([repeats, range(120)], names=["repeat", "row"])
    naive, corrected = protocols._resampled(gap, 0), protocols._resampled(gap, 1)
    assert naive < corrected < 1


def test_heads_average_views_and_fold_into_one_layer():
    rng = np.random.default_rng(0)
    numbers = np.arange(60) % 3
    views = rng.normal(size=(60, 8, 5)).astype(np.float32) + numbers[:, None, None]
    head = transfer.fit(transfer.classifier(1.0), views, numbers)
    kernel, bias = transfer._dense(head)
    logits = views[:, 0] @ kernel + bias
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert transfer.probabilities(head, views[:, :1]) == pytest.approx(chances, abs=1e-5)
    single = [transfer.probabilities(head, views[:, at : at + 1]) for at in range(8)]
    assert transfer.probabilities(head, views) == pytest.approx(np.mean(single, axis=0))


def test_heads_of_two_classes_fold_too():
    numbers = np.arange(40) % 2
    views = np.random.default_rng(0).normal(size=(40, 8, 4)) + numbers[:, None, None]
    head = transfer.fit(transfer.classifier(1.0), views, numbers)
    kernel, bias = transfer._dense(head)
    logits = views[:, 0] @ kernel + bias
    assert logits.shape == (40, 2)
    chances = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert transfer.probabilities(head, views[:, :1])[:, 1] == pytest.approx(chances)


def test_features_are_those_of_keras_in_eight_views_and_are_kept(outputs, monkeypatch, capsys):
    model = models.pretrained("efficientnet_lite0", 3, seed=0, size=64, alpha=0.35)
    network = transfer.extractor(model)
    squares = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 1), dtype=np.uint8)
    found = transfer.features(network, squares[:3])
    turned = np.rot90(squares[:3], axes=(1, 2))
    assert found.std() > 0.1
    assert found[:, 0] == pytest.approx(network.predict_on_batch(squares[:3]), abs=1e-3)
    assert found[:, 1] == pytest.approx(network.predict_on_batch(turned), abs=1e-3)
    computed = []
    compute = transfer.compute
    monkeypatch.setattr(
        transfer, "compute", lambda net, new: computed.append(len(new)) or compute(net, new)
    )
    assert np.array_equal(transfer.features(network, squares)[:3], found)
    assert np.array_equal(transfer.features(network, squares[2::-1]), found[::-1])
    assert computed == [2], "only what is new is computed"
    [file] = (outputs / "cache").glob("*.npz")
    file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(transfer.features(network, squares[:3]), found)
    assert "damaged" in capsys.readouterr().out
    again = models.pretrained("efficientnet_lite0", 4, seed=1, size=64, alpha=0.35)
    assert transfer.cache_file(transfer.extractor(again)) == file, "other head and seed, same file"
    other = models.pretrained("efficientnet_lite0", 3, 0, 64, 0.35, weights=None)
    assert transfer.cache_file(transfer.extractor(other)) != file, "other weights, other file"


def test_texture_histograms_see_texture_not_its_turn():
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 255, (8, 8)), np.ones((8, 8)))
    fine = rng.integers(0, 255, (64, 64))
    squares = np.stack([coarse, np.rot90(coarse), fine])[..., np.newaxis].astype(np.uint8)
    histograms = np.stack([texture.histograms(square) for square in squares])
    assert histograms.sum(axis=1) == pytest.approx(3)
    assert abs(histograms[0] - histograms[1]).sum() < 0.1 * abs(histograms[0] - histograms[2]).sum()


def test_lists_of_words_and_missing_runs(outputs, capsys):
    assert comparison.words(" a, b,,") == ["a", "b"]
    assert comparison.finished("gone") == []
    assert "gone has no predictions.csv and is left out" in capsys.readouterr().out


def test_a_run_on_other_images_does_not_stand_for_the_cnn(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    pd.DataFrame({"path": ["a_1"], "predicted": ["a"]}).to_csv(run / "predictions.csv")
    with pytest.raises(UserError, match="tested on other images"):
        candidates.custom_cnn(images(), ["a", "b"], tmp_path, [run])


def test_costs_are_measured_in_a_process_of_their_own(trained, stand_in):
    files = sorted(stand_in.rglob("*.jpg"))[:3]
    found = cost.measure(cost.networks, ("net", [str(trained)]), files)
    assert list(found) == ["net", "net x8"]
    for figures in found.values():
        assert 0 < figures["one_ms"] / 1000 < figures["cold_s"]
        assert figures["batch_ms"] > 0
    assert 100 < found["net"]["memory_mb"] <= found["net x8"]["memory_mb"]


def test_advice_names_the_best_and_the_price_of_averaging():
    keys = ["protocol", "per_class", "model", "repeats", "accuracy", "sd", "low", "high"]
    worth = pd.DataFrame(
        [
            ("blocked", 8, "small", 1, 0.97, 0, 0.95, 0.99),
            ("blocked", 8, "small x8", 1, 0.98, 0, 0.96, 0.995),
            ("blocked", 8, "old", 1, 0.80, 0, 0.75, 0.85),
        ],
        columns=keys,
    )
    costs = pd.DataFrame(
        {"one_ms": [2, 8, 1], "file_mb": [3, 3, 1]}, index=["small", "small x8", "old"]
    )
    said = advice.advice(worth, costs)
    assert "**small x8**, 98.00%" in said
    assert "**small** answers fastest (2 ms" in said
    assert "small by +1.00 points and takes 4.0 times" in said


def test_the_cnn_is_trained_where_no_run_stands_for_it(split, tmp_path, monkeypatch):
    own = training.RECIPES[models.CUSTOM] | {"epochs": 1}
    monkeypatch.setitem(training.RECIPES, models.CUSTOM, own)
    classes = sorted(split["label"].unique())
    trial = next(protocols.blocked(split))
    answers = candidates.custom_cnn(split, classes, tmp_path / "training", [])(trial)
    assert set(answers) == {"custom_cnn", "custom_cnn x8"}
    assert all(len(numbers) == len(trial.test) for numbers in answers.values())
    assert not (tmp_path / "training").exists()
