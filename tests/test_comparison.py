"""Protocols, their statistics, and the candidates of a comparison."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nbutils import runs
from nbutils.data import datasets
from nbutils.disk import UserError
from nbutils.evaluation import comparison, latency, metrics, protocols
from nbutils.inference.predictor import load_predictor
from nbutils.models import features, lbp_svm, networks, training
from nbutils.runtime import keras

Y = np.repeat([0, 1], 20)


@pytest.fixture
def numbered():
    """Rows of a split of 20 images of a and of b; b_20 has the pixels of b_1."""
    rows = [
        (f"{label}_{number}", label, number, "test" if number > 15 else "train")
        for label in "ab"
        for number in range(1, 21)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "number", "part"])
    return table.assign(sha256=table["path"].replace("b_20", "b_1"))


def perfect(fold):
    return Y[fold.test]


def never(fold):
    return np.full(len(fold.test), 9)


def per_image(folds):
    """The outcomes of a perfect candidate and one that is never right."""
    candidates = {"perfect": perfect, "never": never}
    tables = [protocols.run(folds, name, one, Y) for name, one in candidates.items()]
    return pd.concat(tables, ignore_index=True)


def test_no_image_and_no_copy_is_on_both_sides(numbered):
    folds = [
        *protocols.fixed(numbered),
        *protocols.blocked(numbered),
        *protocols.repeated_holdout(numbered, repeats=3, seed=0),
        *protocols.learning_curve(numbered, [2, 5, 15, 99], n_draws=2, seed=0),
    ]
    for fold in folds:
        train, test = numbered.iloc[fold.train], numbered.iloc[fold.test]
        assert not set(train["sha256"]) & set(test["sha256"])
        assert set(train["label"]) == {"a", "b"}
        assert fold.n_per_class == train["label"].value_counts().max()


def test_a_holdout_draws_half_of_each_class(numbered):
    is_rare = numbered["label"] == numbered["label"].iloc[0]
    unequal = numbered[~is_rare | (is_rare.cumsum() <= 6)].reset_index(drop=True)
    [fold] = protocols.repeated_holdout(unequal, 1, seed=0)
    drawn = unequal["label"].iloc[fold.train].value_counts()
    assert drawn.to_dict() == (unequal["label"].value_counts() // 2).to_dict()
    assert drawn.nunique() == 2


def test_blocks_are_consecutive_numbers_and_test_each_image_once(numbered):
    numbered = numbered.assign(sha256=numbered["path"])
    tests = [fold.test for fold in protocols.blocked(numbered)]
    assert sorted(np.concatenate(tests)) == list(range(40))
    for test in tests:
        for _, numbers in numbered.iloc[test].groupby("label")["number"]:
            assert numbers.max() - numbers.min() == 3


def test_holdouts_differ_by_repeat_and_are_the_same_for_a_seed(numbered):
    first, again = (list(protocols.repeated_holdout(numbered, 2, seed=1)) for _ in range(2))
    assert np.array_equal(first[0].train, again[0].train)
    assert not np.array_equal(first[0].train, first[1].train)
    assert numbered["label"].iloc[first[0].train].value_counts().tolist() == [10, 10]


def test_the_learning_curve_trains_outside_the_test_part_and_ends_with_all_of_it(numbered):
    folds = list(protocols.learning_curve(numbered, [5, 2, 15, 99], n_draws=2, seed=0))
    assert [fold.n_per_class for fold in folds] == [2, 2, 5, 5, 15]
    for fold in folds:
        assert (numbered["part"].iloc[fold.train] == "train").all()
        assert (numbered["part"].iloc[fold.test] == "test").all()


def test_no_protocol_trains_and_tests_on_one_group(numbered):
    rng = np.random.default_rng(0)
    group = rng.integers(0, 12, len(numbered))
    grouped = numbered.assign(group=group, part=np.where(group < 4, "test", "train"))
    folds = [
        *protocols.fixed(grouped),
        *protocols.blocked(grouped),
        *protocols.repeated_holdout(grouped, 3, seed=0),
        *protocols.learning_curve(grouped, [2, 5], 2, seed=0),
    ]
    for fold in folds:
        assert not set(group[fold.train]) & set(group[fold.test])
        assert len(fold.test)
    holdout = [fold for fold in folds if fold.protocol == "repeated_holdout"]
    assert {fold.n_per_class for fold in holdout} == {10}


def test_a_protocol_without_test_images_is_an_error(numbered):
    with pytest.raises(UserError, match="'fixed' needs images"):
        list(protocols.fixed(numbered.assign(part="train")))


@pytest.mark.parametrize("text", ["2,x", "5,-3", "1,5", "2.5"])
def test_sizes_that_cannot_be_are_refused(text):
    with pytest.raises(UserError, match=f"TRAIN_SIZES '{text}': give numbers of images"):
        protocols.parse_sizes(text)
    assert protocols.parse_sizes("5, 10") == [5, 10]


def test_protocols_without_folds_are_left_out(numbered, capsys):
    plans = {"fixed": protocols.fixed(numbered, 1), "none": iter(())}
    assert list(protocols.make_folds(plans)) == ["fixed"]
    assert "'none' has nothing to draw" in capsys.readouterr().out
    with pytest.raises(UserError, match="no protocol is left"):
        protocols.make_folds({"none": iter(())})


def test_accuracies_are_means_over_the_repeats(numbered):
    outcomes = per_image(list(protocols.repeated_holdout(numbered, 3, seed=0)))
    assert list(outcomes)[-4:] == ["model", "row", "y", "correct"]
    summary = protocols.summarize(outcomes).set_index("model")
    assert summary.loc["perfect", ["repeats", "accuracy", "sd"]].tolist() == [3, 1, 0]
    assert summary.loc["never", "accuracy"] == 0


def test_balanced_accuracy_gives_each_class_one_voice():
    outcomes = outcomes_of("fixed", majority=[[1, 1, 1, 1, 0]]).assign(y=[0, 0, 0, 0, 1])
    [row] = protocols.summarize(outcomes).to_dict("records")
    assert (row["accuracy"], row["balanced_accuracy"]) == (0.8, 0.5)


def test_intervals_count_each_image_once(numbered):
    outcomes = per_image(list(protocols.fixed(numbered, 3)))
    thrice = protocols.summarize(outcomes).set_index("model").loc["perfect"]
    once = protocols.summarize(outcomes[outcomes["repeat"] == 0]).set_index("model").loc["perfect"]
    assert thrice["low"] == once["low"] < 1


def test_neighbours_in_the_ranking_are_tested_on_the_same_images(numbered):
    outcomes = per_image(list(protocols.blocked(numbered)))
    [test] = protocols.pairwise_tests(outcomes).itertuples()
    assert (test.better, test.worse, test.difference) == ("perfect", "never", 1)
    assert test.p == pytest.approx(2 * 0.5**40)  # all images, one way


def outcomes_of(protocol, **correct):
    """Outcomes of models, each as repeats of images of 0 (wrong) and 1 (correct)."""
    rows = [
        (protocol, 10, repeat, 1.0, model, row, bool(value))
        for model, repeats in correct.items()
        for repeat, values in enumerate(repeats)
        for row, value in enumerate(values)
    ]
    columns = ["protocol", "n_per_class", "repeat", "test_by_train", "model", "row", "correct"]
    return pd.DataFrame(rows, columns=columns)


def test_mcnemar_counts_the_majority_of_three_seeds():
    """Each image but the last is missed by one seed of `cnn`: its majority is right there."""
    seeds = np.ones((3, 10), int)
    seeds[np.arange(9) % 3, np.arange(9)] = 0
    other = np.ones((3, 10), int)
    outcomes = outcomes_of("fixed", other=other, cnn=seeds)
    [test] = protocols.pairwise_tests(outcomes).itertuples()
    assert (test.better, test.worse) == ("other", "cnn")
    assert test.difference == pytest.approx(0.3)
    assert test.p == 1, "by majority, both are right on all images"
    seeds[:2, :6] = 0
    [test] = protocols.pairwise_tests(outcomes_of("fixed", other=other, cnn=seeds)).itertuples()
    assert test.p == pytest.approx(2 * 0.5**6), "six images are lost by majority, none is won"


def test_mcnemar_counts_ties_for_neither_model():
    tied = np.array([[1, 1, 1, 0, 0, 0, 1, 1], [1, 1, 0, 1, 0, 0, 1, 1]])
    outcomes = outcomes_of("fixed", other=np.ones((2, 8), int), tied=tied)
    [test] = protocols.pairwise_tests(outcomes).itertuples()
    assert test.p == pytest.approx(2 * 0.5**2)


@pytest.mark.parametrize("n_right", [1, 2, 3, 5, 7])
def test_differences_that_are_equal_have_no_p_value(n_right):
    index = pd.MultiIndex.from_product([range(5), range(300)], names=["repeat", "row"])
    difference = pd.Series(np.tile(np.arange(300) < n_right, 5).astype(float), index)
    assert np.isnan(protocols._resampled_t_test(difference, 1))


def test_intervals_of_few_repeats_are_possible_and_never_narrower_than_one_of_them():
    for correct in (([1] * 10, [1] * 10), ([1] * 6 + [0] * 4, [1] * 9 + [0])):
        outcomes = outcomes_of("repeated_holdout", model=np.array(correct)).assign(y=0)
        [row] = protocols.summarize(outcomes).to_dict("records")
        low, high = metrics.wilson(round(10 * row["accuracy"]), 10)
        assert 0 <= row["low"] <= low < high <= row["high"] <= 1


def test_the_resampled_test_widens_with_the_overlap_of_the_repeats():
    means = np.array([0.1, 0.2, 0.35])
    repeats = np.repeat([0, 1, 2], 20)
    index = pd.MultiIndex.from_arrays([repeats, np.tile(range(20), 3)], names=["repeat", "row"])
    difference = pd.Series((np.tile(np.arange(20), 3) < 20 * means[repeats]).astype(float), index)
    plain = protocols._resampled_t_test(difference, 0)
    assert plain == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    variance = means.var(ddof=1) * (1 / 3 + 1)
    corrected = 2 * stats.t.sf(means.mean() / np.sqrt(variance), 2)
    assert protocols._resampled_t_test(difference, 1) == pytest.approx(corrected)


def small_extractor(seed):
    """A backbone that is computed quickly."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((16, 16, 1))
    maps = keras.layers.Conv2D(4, 3, strides=2)(image)
    return keras.Model(image, keras.layers.Flatten()(maps), name="small")


def test_features_are_those_of_keras_in_eight_views(outputs):
    images = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 1), dtype=np.uint8)
    extractor = small_extractor(seed=0)
    views = features.extract(extractor, images)
    for view, expected in (
        (0, images),
        (1, np.rot90(images, axes=(1, 2))),
        (4, images[:, :, ::-1]),
    ):
        assert views[:, view] == pytest.approx(extractor.predict_on_batch(expected), abs=1e-3)
    assert views.std() > 0


def test_features_are_computed_once(outputs, monkeypatch, capsys):
    images = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 1), dtype=np.uint8)
    extractor = small_extractor(seed=0)
    expected = features.extract(extractor, images[:3])
    computed = []
    compute = features.compute
    monkeypatch.setattr(
        features, "compute", lambda net, new: computed.append(len(new)) or compute(net, new)
    )
    assert np.array_equal(features.extract(extractor, images)[:3], expected)
    assert np.array_equal(features.extract(extractor, images[2::-1]), expected[::-1])
    assert computed == [2], "only what is new is computed"
    [file] = (outputs / "cache").glob("*.npz")
    file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(features.extract(extractor, images[:3]), expected)
    assert "damaged" in capsys.readouterr().out


def test_a_damaged_network_in_the_cache_is_written_again(outputs, capsys):
    images = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 1), dtype=np.uint8)
    extractor = small_extractor(seed=0)
    expected = features.compute(extractor, images)
    [file] = (outputs / "cache").glob("*.tflite")
    content = bytearray(file.read_bytes())
    weights = content.find(extractor.get_weights()[0].ravel()[:4].tobytes()[:4])
    content[weights] ^= 255
    file.write_bytes(content)
    assert np.array_equal(features.compute(extractor, images), expected)
    assert "is written again" in capsys.readouterr().out


def test_the_cache_belongs_to_the_weights():
    extractor, other = small_extractor(seed=0), small_extractor(seed=1)
    assert features.cache_file(other) != features.cache_file(extractor)
    other.set_weights(extractor.get_weights())
    assert features.cache_file(other) == features.cache_file(extractor)


def test_texture_histograms_see_texture_not_its_turn():
    rng = np.random.default_rng(0)
    coarse = np.kron(rng.integers(0, 255, (8, 8)), np.ones((8, 8)))
    fine = rng.integers(0, 255, (64, 64))
    images = np.stack([coarse, np.rot90(coarse), fine])[..., np.newaxis].astype(np.uint8)
    histograms = np.stack([lbp_svm.histograms(image) for image in images])
    assert histograms.sum(axis=1) == pytest.approx(3)
    assert abs(histograms[0] - histograms[1]).sum() < 0.1 * abs(histograms[0] - histograms[2]).sum()


def test_models_without_predictions_are_left_out(tmp_path, capsys):
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / runs.PREDICTIONS).touch()
    assert comparison.finished_models(tmp_path, "done, gone,,") == [tmp_path / "done"]
    assert "gone has no predictions.csv and is left out" in capsys.readouterr().out


def test_a_model_tested_on_other_images_is_refused(numbered, tmp_path):
    pd.DataFrame({"path": ["a_1"], "predicted": ["a"]}).to_csv(tmp_path / runs.PREDICTIONS)
    with pytest.raises(UserError, match="tested on other images"):
        comparison.cnn_candidate(numbered, tmp_path, [tmp_path])


def test_candidates_are_evaluated_under_their_protocols(split, outputs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        comparison, "parallel_map", lambda function, items, scheduler: map(function, items)
    )
    y = split["label"].astype("category").cat.codes.to_numpy()
    candidates = comparison.make_candidates(["lbp_svm"], split, y, tmp_path, [])
    folds = {"fixed": list(protocols.fixed(split)), "blocked": list(protocols.blocked(split))[:2]}
    plan = {"fixed": ["lbp_svm"], "blocked": ["lbp_svm"]}
    outcomes = comparison.run_protocols(plan, folds, candidates, y)
    assert outcomes.groupby("protocol").size().to_dict() == {
        name: sum(len(fold.test) for fold in of_protocol) for name, of_protocol in folds.items()
    }
    assert outcomes["correct"].mean() > 0.7, "SYNTHETIC textures are easy"


@pytest.fixture(scope="module")
def tested(split, trained, tmp_path_factory):
    """A copy of the trained model with its predictions, and these."""
    model = tmp_path_factory.mktemp("tested") / trained.name
    shutil.copytree(trained, model)
    test = split[split["part"] == "test"]
    predictor = load_predictor(model)
    predictions = predictor.predict_arrays(datasets.read_images(test, predictor.size))
    table = metrics.prediction_table(test, predictions)
    runs.write_csv(table, model / runs.PREDICTIONS)
    runs.write_json({"training_seconds": 9.0}, model / runs.METRICS)
    return model, table["predicted"].map(predictor.classes.index)


def test_a_trained_model_stands_for_the_cnn_on_the_fixed_split(split, tested, tmp_path):
    model, expected = tested
    [fold] = protocols.fixed(split)
    predicted = comparison.cnn_candidate(split, tmp_path, [model])(fold)
    assert predicted.tolist() == expected.tolist()


def test_the_cnn_is_trained_on_the_folds_of_other_protocols(split, tested, tmp_path, monkeypatch):
    own = training.RECIPES[networks.CUSTOM_CNN] | {"epochs": 1}
    monkeypatch.setitem(training.RECIPES, networks.CUSTOM_CNN, own)
    monkeypatch.setitem(networks.SIZES, networks.CUSTOM_CNN, 32)
    fold = next(protocols.blocked(split))
    predicted = comparison.cnn_candidate(split, tmp_path / "training", [tested[0]])(fold)
    assert predicted.shape == fold.test.shape
    assert not list(tmp_path.iterdir())


def test_costs_of_each_kind_of_candidate(split, tested, outputs, tmp_path, monkeypatch):
    model, _ = tested
    data = Path(split["path"][0]).read_bytes()

    def measure(loaders, files):
        [(name, load)] = loaders.items()
        assert len(load()([data])) == 1
        return pd.DataFrame({"latency_ms": [2.0]}, index=[name])

    monkeypatch.setattr(latency, "measure", measure)
    y = split["label"].astype("category").cat.codes.to_numpy()
    costs = comparison.measure_costs(["lbp_svm", "custom_cnn"], split, y, tmp_path, [model])
    assert costs.index.tolist() == ["lbp_svm", "custom_cnn"]
    assert costs["latency_ms"].tolist() == [2, 2]
    assert costs.loc["lbp_svm", "file_mb"] == costs.loc["lbp_svm", "parameters"] * 8 / 2**20
    assert costs.loc["custom_cnn", "training_s"] == 9
    assert costs.loc["custom_cnn", "file_mb"] == (model / runs.KERAS_MODEL).stat().st_size / 2**20


def test_the_summary_has_one_accuracy_and_the_costs_of_each_model():
    rows = [("fixed", 240, "a", 0.9), ("fixed", 240, "b", 0.8), ("blocked", 200, "a", 0.7)]
    accuracy = pd.DataFrame(rows, columns=["protocol", "n_per_class", "model", "accuracy"])
    accuracy = accuracy.assign(low=accuracy["accuracy"] - 0.1, high=1.0, balanced_accuracy=0.6)
    costs = pd.DataFrame({"latency_ms": [1.0, 2.0]}, index=["a", "b"])
    table = comparison.summarize(accuracy, costs)
    assert table[["accuracy", "protocol"]].to_numpy().tolist() == [[0.7, "blocked"], [0.8, "fixed"]]
    assert table.loc["a", ["fixed_240", "blocked_200", "latency_ms"]].tolist() == [0.9, 0.7, 1]
