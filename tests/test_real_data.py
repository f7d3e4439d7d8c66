"""Facts of the real NEU-DET, where it is found."""

import pytest

from nbutils import audit, data, splits


@pytest.fixture(scope="module")
def table():
    source = data.find()
    if source.name != "NEU-DET":
        pytest.skip("NEU-DET is not on this machine")
    return data.index(source.folder)


pytestmark = pytest.mark.real_data


def test_neu_det_is_as_published(table):
    assert len(table) == 1800
    assert table["label"].value_counts().to_dict() == dict.fromkeys(data.NEU_CLASSES, 300)
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
