"""The split into training, validation and test part."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbutils import runs
from nbutils.data import splits
from nbutils.data.labels import NEU_CLASSES
from nbutils.disk import UserError


def numbered(per_class=300, classes=NEU_CLASSES):
    """An index with a hash of its own for each image."""
    rows = [(label, number) for label in classes for number in range(1, per_class + 1)]
    table = pd.DataFrame(rows, columns=["label", "number"])
    table["sha256"] = table["label"] + table["number"].astype(str)
    table["path"] = table["sha256"] + ".jpg"
    table["boxes"] = [[] for _ in rows]
    return table.assign(width=200, height=200)


NO_PAIRS = pd.DataFrame({"a": [], "b": [], "correlation": []}, dtype=int)


def make_split(table, kind, seed):
    return splits.make_split(table, kind, seed, splits.find_groups(table, kind, NO_PAIRS))


def pairs_of(groups):
    """Chain the images of each group."""
    order = pd.Series(groups).sort_values(kind="stable")
    same = (order.to_numpy()[1:] == order.to_numpy()[:-1]).nonzero()[0]
    return pd.DataFrame({"a": order.index[same], "b": order.index[same + 1], "correlation": 0.9})


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
    first = make_split(table, kind, seed=1)
    assert first.equals(make_split(table, kind, seed=1))
    assert not first.equals(make_split(table, kind, seed=2))


@pytest.mark.parametrize("kind", splits.KINDS)
def test_identical_images_share_a_part(kind):
    table = numbered(60 if kind == "random" else 300)
    rng = np.random.default_rng(0)
    pairs = rng.permutation(len(table))[:100].reshape(50, 2)
    for one, other in pairs:
        table.loc[other, "sha256"] = table.loc[one, "sha256"]
    part = make_split(table, kind, seed=0)
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
    assert splits.default_kind(numbered(per_class=100)) == "grouped"
    assert splits.default_kind(numbered(classes=("dent", "hole"))) == "grouped"


def test_unknown_kind_and_too_few_images():
    with pytest.raises(UserError, match="fixed, random, blocked, grouped"):
        splits.make_split(numbered(), "stratified", seed=0)
    with pytest.raises(UserError, match="higher ones: choose another SPLIT"):
        splits.make_split(numbered(per_class=100), "fixed", seed=0)
    with pytest.raises(UserError, match="images"):
        splits.make_split(numbered(per_class=1), "random", seed=0)


@pytest.mark.parametrize("seed", range(40))
def test_grouped_keeps_groups_whole_and_every_class_in_every_part(seed):
    rng = np.random.default_rng(seed)
    n_classes = int(rng.choice([2, 3, 6, 30]))
    counts = rng.integers(5, 41, n_classes)
    counts[0] = 300 if seed % 2 else counts[0]
    table = pd.concat([numbered(n, [f"c{i}"]) for i, n in enumerate(counts)], ignore_index=True)
    n_groups = np.maximum(3, (counts * rng.uniform(0.1, 1.2)).astype(int))
    groups = np.concatenate(  # each class has at least three
        [
            [f"{i}_{g}" for g in np.r_[:3, rng.integers(0, n_groups[i], n - 3)]]
            for i, n in enumerate(counts)
        ]
    )
    for one, other in rng.integers(0, len(table), (int(rng.integers(0, 3)), 2)):
        table.loc[other, "sha256"] = table.loc[one, "sha256"]  # of any classes
    pairs = pairs_of(groups)
    groups = splits.find_groups(table, "grouped", pairs)
    part = splits.make_split(table, "grouped", seed, groups)
    assert (pd.crosstab(table["label"], part)[list(splits.PARTS)] > 0).all(axis=None)
    if table["sha256"].is_unique:
        assert (part.groupby(groups).nunique() == 1).all()
    assert part.equals(splits.make_split(table, "grouped", seed, groups))


def test_grouped_has_the_shares_asked_for():
    table = numbered(per_class=50)
    groups = splits.find_groups(table, "grouped", pairs_of(np.arange(300) // 2))
    part = splits.make_split(table, "grouped", 0, groups)
    assert (pd.crosstab(table["label"], part)["test"] == 10).all()
    assert (pd.crosstab(table["label"], part)["validation"] == 6).all()


def test_a_class_of_one_group_is_cut_and_this_is_told():
    table = numbered(per_class=20, classes=("dent", "hole"))
    pairs = pairs_of(np.r_[np.zeros(20), np.arange(1, 21)])
    groups = splits.find_groups(table, "grouped", pairs)
    part = splits.make_split(table, "grouped", 0, groups)
    counts = pd.crosstab(table["label"], part)
    assert (counts > 0).all(axis=None)
    assert (counts["train"] >= 12).all()
    text = splits.describe(table, part, "grouped", 0, groups)
    assert "40 images, 21 groups" in text
    assert "dent had too few groups" in text
    assert "hole" not in text


def test_copies_of_a_whole_class_do_not_stop_grouped():
    table = numbered(per_class=8, classes=("dent", "hole"))
    table.loc[8:, "sha256"] = table.loc[:7, "sha256"].to_numpy()
    part = make_split(table, "grouped", seed=0)
    assert (part[:8].to_numpy() == part[8:].to_numpy()).all()
    assert set(part) == set(splits.PARTS)


def test_grouped_keeps_consecutive_numbers_of_sequential_classes_together():
    table = numbered(per_class=100, classes=("dent", "hole"))
    groups = splits.find_groups(table, "grouped", NO_PAIRS, ["dent"])
    part = splits.make_split(table, "grouped", 0, groups)
    n_parts = part.groupby([table["label"], (table["number"] - 1) // splits.BLOCK]).nunique()
    assert (n_parts["dent"] == 1).all()
    assert (n_parts["hole"] > 1).any()
    assert "consecutive numbers of dent" in splits.describe(
        table, part, "grouped", 0, groups, ["dent"]
    )


def test_grouped_names_the_class_that_is_too_small():
    table = pd.concat([numbered(9, ["dent"]), numbered(4, ["hole"])], ignore_index=True)
    with pytest.raises(UserError, match=r"'hole' \(4\).*needs 5.*add images.*merge.*remove"):
        make_split(table, "grouped", seed=0)
    with pytest.raises(UserError, match="near_duplicates first"):
        splits.make_split(numbered(9), "grouped", seed=0)


@pytest.mark.parametrize("kind", splits.KINDS)
def test_a_split_is_described_in_one_line(kind):
    table = numbered()
    groups = splits.find_groups(table, kind, NO_PAIRS)
    text = splits.describe(table, make_split(table, kind, seed=3), kind, 3, groups)
    assert text.startswith(f"{kind}: 1800 images, ")
    assert text.endswith("seed 3")
    assert "\n" not in text


def test_split_survives_its_file(tmp_path):
    table = numbered(per_class=30)
    table.at[0, "boxes"] = [("crazing", 1, 2, 3, 4)]
    part = splits.make_split(table, "random", seed=0)
    splits.write_split(table, part, tmp_path)
    split = splits.read_split(tmp_path)
    assert split["part"].tolist() == part.tolist()
    assert split.at[0, "boxes"] == [["crazing", 1, 2, 3, 4]]
    assert split.at[1, "boxes"] == []


@pytest.mark.parametrize("kind", splits.KINDS)
def test_groups_are_kept_in_the_file_and_carved_whole(kind, tmp_path):
    table = numbered(300)
    table.loc[[5, 100], "sha256"] = "copy"
    pairs = pairs_of(np.arange(len(table)) // 3) if kind == "grouped" else NO_PAIRS
    groups = splits.find_groups(table, kind, pairs)
    part = splits.make_split(table, kind, 0, groups)
    splits.write_split(table, part, tmp_path, groups)
    split = splits.read_split(tmp_path)
    assert (split.groupby("group")["part"].nunique() == 1).all()
    assert split.loc[split["sha256"] == "copy", "group"].nunique() == part[[5, 100]].nunique()
    together = {"grouped": 3, "blocked": splits.BLOCK}.get(kind, 1)
    assert split["group"].value_counts().median() == together
    known = split[split["part"] == "train"].reset_index(drop=True)
    validation = splits.carve_validation(known, seed=1)
    assert 0.05 < validation.mean() < 0.25
    assert not set(known["group"][validation]) & set(known["group"][~validation])


def test_validation_is_carved_from_few_images(tmp_path):
    known = numbered(per_class=4, classes=("dent", "hole"))
    validation = splits.carve_validation(known.assign(group=range(8)), seed=0)
    assert known["label"][validation].nunique() == 2
    assert known["label"][~validation].nunique() == 2


HEAD = ",".join(splits.COLUMNS)
CELL = st.one_of(
    st.sampled_from(
        [
            "train",
            "test",
            "1",
            "-1",
            "nan",
            "1e400",
            "9" * 30,
            "[]",
            "[[1]]",
            "[" * 5000,
            '"[[""a"",1,2,3,4]]"',
            '"[[""a"",1,2,3,NaN]]"',
            '"[[""a"",1,2,3,1e400]]"',
            "{}",
            '"',
        ]
    ),
    st.text(max_size=5),
)


@given(st.lists(st.lists(CELL, min_size=7, max_size=9), max_size=3))
@settings(deadline=None)
def test_any_text_is_a_split_or_a_user_error(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp()
    text = "\n".join([HEAD, *map(",".join, rows)])
    (folder / runs.SPLIT).write_text(text, encoding="utf-8", errors="surrogatepass")
    with contextlib.suppress(UserError):
        split = splits.read_split(folder)
        assert all(len(box) == 5 for boxes in split["boxes"] for box in boxes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{HEAD}\na,b,1,2,2,[[1]],0,train\n", "damaged rows"),
        (f"{HEAD}\na,b,one,2,2,[],0,train\n", "damaged rows"),
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
