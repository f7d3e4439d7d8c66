"""Facts of the real NEU-DET, where it is found."""

from pathlib import Path

import pytest

from nbutils import audit, data, layouts, metrics, paths, splits, tables
from nbutils.predict import load_predictor


@pytest.fixture(scope="module")
def table():
    place = data.usual_place()
    if place is None:
        pytest.skip("NEU-DET is neither in data/ nor in ../shared")
    return data.index(place)


pytestmark = pytest.mark.real_data


def test_neu_det_is_as_published(table):
    assert len(table) == 1800
    assert table["label"].value_counts().to_dict() == dict.fromkeys(layouts.NEU_CLASSES, 300)
    assert (table[["width", "height"]] == 200).all(axis=None)
    assert table.attrs["skipped"] == {}
    assert audit.has_second_class(table).sum() == 123
    pairs = [[path.split("/")[-1] for path in group] for group in audit.identical(table)]
    assert pairs == [["patches_101.jpg", "patches_105.jpg"]]


def test_the_fixed_split_is_the_default_and_separates_some_twins(table):
    assert splits.default_kind(table) == "fixed"
    part = splits.make_split(table, "fixed", seed=0)
    assert (part == "test").sum() == 360
    _, thumbnails = audit.texture(table)
    pairs = audit.near_duplicates(table, thumbnails)
    numbers = table["number"]
    named = set(zip(numbers[pairs["a"]], numbers[pairs["b"]], strict=True))
    assert {(101, 105), (171, 292)} <= named


@pytest.mark.parametrize("name", tables.MODELS)
def test_shipped_models_reproduce_their_metrics(table, name):
    folder = paths.ROOT / "outputs" / "reference" / name
    part = splits.make_split(table, "fixed", paths.read_json(folder / "metrics.json", "")["seed"])
    test = table[part == "test"]
    files = [Path(path).read_bytes() for path in test["path"]]
    found = metrics.summary(metrics.prediction_table(test, load_predictor(folder).predict(files)))
    shipped = paths.read_json(folder / "metrics.json", "")["test"]
    assert found["errors"] == shipped["errors"]
    assert found["log_loss"] == pytest.approx(shipped["log_loss"], abs=1e-4)
