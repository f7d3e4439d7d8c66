"""NEU-DET itself, where it is found."""

from pathlib import Path

import pytest

from nbutils import runs
from nbutils.data import audit, datasets, labels, splits
from nbutils.evaluation import metrics
from nbutils.inference.predictor import load_predictor


@pytest.fixture(scope="module")
def table():
    location = datasets.default_location()
    if location is None:
        pytest.skip("NEU-DET is neither in data/ nor in ../shared")
    return datasets.index_images(location)


pytestmark = pytest.mark.real_data


def test_neu_det_is_as_published(table):
    assert len(table) == 1800
    assert table["label"].value_counts().to_dict() == dict.fromkeys(labels.NEU_CLASSES, 300)
    assert (table[["width", "height"]] == 200).all(axis=None)
    assert table.attrs["skipped"] == {}
    assert audit.has_second_class(table).sum() == 123
    pairs = [[path.split("/")[-1] for path in group] for group in audit.identical(table)]
    assert pairs == [["patches_101.jpg", "patches_105.jpg"]]


def test_the_fixed_split_is_the_default_and_separates_near_duplicates(table):
    assert splits.default_kind(table) == "fixed"
    part = splits.make_split(table, "fixed", seed=0)
    assert (part == "test").sum() == 360
    _, thumbnails = audit.measure_texture(table)
    pairs = audit.near_duplicates(table, thumbnails)
    numbers = table["number"]
    found = set(zip(numbers[pairs["a"]], numbers[pairs["b"]], strict=True))
    assert {(101, 105), (171, 292)} <= found


@pytest.mark.parametrize("name", ["mobilenet_v2", "custom_cnn"])
def test_shipped_models_reproduce_their_metrics(table, name):
    folder = runs.find_model(name)
    shipped = runs.read_json(folder / runs.METRICS)
    test = table[splits.make_split(table, "fixed", shipped["seed"]) == "test"]
    files = [Path(path).read_bytes() for path in test["path"]]
    predictions = load_predictor(folder).predict(files)
    measured = metrics.summarize(metrics.prediction_table(test, predictions))
    assert measured["errors"] == shipped["test"]["errors"]
    assert measured["log_loss"] == pytest.approx(shipped["test"]["log_loss"], abs=1e-4)
