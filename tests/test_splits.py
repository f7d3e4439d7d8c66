"""The split into training, validation and test part."""

import numpy as np
import pandas as pd
import pytest

from nbutils.data import splits
from nbutils.data.layouts import NEU_CLASSES
from nbutils.runs import UserError


def numbered(per_class=300, classes=NEU_CLASSES):
    """An index with a hash of its own for each image."""
    rows = [(label, number) for label in classes for number in range(1, per_class + 1)]
    table = pd.DataFrame(rows, columns=["label", "number"])
    table["sha256"] = table["label"] + table["number"].astype(str)
    table["path"] = table["sha256"] + ".jpg"
    table["boxes"] = [[] for _ in rows]
    return table.assign(width=200, height=200)


def test_the_test_part_of_fixed_is_the_numbers_above_240():
    table = numbered()
    part = splits.make_split(table, "fixed", seed=3)
    assert ((part == "test") == (table["number"] > 240)).all()
    counts = pd.crosstab(table["label"], part)
    assert (counts["validation"] >= 30).all()


def test_a_class_is_dropped_by_its_name(split):
    remaining = splits.drop_class(split, "scratches")
    assert set(remaining["label"]) == set(split["label"]) - {"scratches"}
    with pytest.raises(UserError, match="'scratch' is no class of the split"):
        splits.drop_class(split, "scratch")


@pytest.mark.parametrize("kind", splits.KINDS)
def test_the_split_depends_on_the_seed(kind):
    table = numbered(60 if kind == "random" else 300)
    first = splits.make_split(table, kind, seed=1)
    assert first.equals(splits.make_split(table, kind, seed=1))
    assert not first.equals(splits.make_split(table, kind, seed=2))


@pytest.mark.parametrize("kind", splits.KINDS)
def test_identical_images_share_a_part(kind):
    table = numbered(60 if kind == "random" else 300)
    rng = np.random.default_rng(0)
    pairs = rng.permutation(len(table))[:100].reshape(50, 2)
    for one, other in pairs:
        table.loc[other, "sha256"] = table.loc[one, "sha256"]
    part = splits.make_split(table, kind, seed=0)
    assert (part.groupby(table["sha256"]).nunique() == 1).all()


def test_blocked_keeps_consecutive_numbers_together():
    table = numbered()
    part = splits.make_split(table, "blocked", seed=0)
    blocks = table["label"] + ((table["number"] - 1) // splits.BLOCK).astype(str)
    assert (part.groupby(blocks).nunique() == 1).all()
    assert 0.15 < (part == "test").mean() < 0.25


def test_random_does_not_keep_blocks_together():
    table = numbered(per_class=60)
    part = splits.make_split(table, "random", seed=0)
    blocks = table["label"] + ((table["number"] - 1) // splits.BLOCK).astype(str)
    assert (part.groupby(blocks).nunique() > 1).any()


def test_default_is_fixed_for_neu_det_alone():
    assert splits.default_kind(numbered()) == "fixed"
    assert splits.default_kind(numbered(per_class=100)) == "blocked"
    assert splits.default_kind(numbered(classes=("dent", "hole"))) == "blocked"


def test_unknown_kind_and_too_few_images():
    with pytest.raises(UserError, match="fixed, random, blocked"):
        splits.make_split(numbered(), "stratified", seed=0)
    with pytest.raises(UserError, match="none in the test part"):
        splits.make_split(numbered(per_class=100), "fixed", seed=0)
    with pytest.raises(UserError, match="images"):
        splits.make_split(numbered(per_class=1), "random", seed=0)


def test_split_survives_its_file(tmp_path):
    table = numbered(per_class=30)
    table.at[0, "boxes"] = [("crazing", 1, 2, 3, 4)]
    part = splits.make_split(table, "random", seed=0)
    splits.write_split(table, part, tmp_path)
    split = splits.read_split(tmp_path)
    assert split["part"].tolist() == part.tolist()
    assert split.at[0, "boxes"] == [["crazing", 1, 2, 3, 4]]
    assert split.at[1, "boxes"] == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing: run 01_data_exploration"),
        ("", "no table"),
        ("path,label\na,b\n", "lacks number"),
        ("path,label,number,width,height,boxes,sha256,part\na,b,1,2,2,[],0,holdout\n", "unknown"),
    ],
)
def test_bad_split_files(tmp_path, content, message):
    if content is not None:
        (tmp_path / "split.csv").write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        splits.read_split(tmp_path)
    assert "split.csv" in str(caught.value)
