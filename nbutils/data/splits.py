"""One seeded split into training, validation and test part, saved as `split.csv`."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from nbutils import runs
from nbutils.data.labels import NEU_CLASSES
from nbutils.data.partition import N_PIECES, PARTS, TEST_SHARE, VALIDATION_SHARE, partition
from nbutils.disk import UserError

KINDS = ("fixed", "random", "blocked", "grouped")
COLUMNS = ["path", "label", "number", "width", "height", "boxes", "sha256", "part"]
NUMBERS = ["number", "width", "height"]  # of these
FIXED_LAST_TRAIN = 240  # the Kaggle edition trains on images 1-240 of each class
BLOCK = 10  # consecutive numbers that stay together
MIN_IMAGES = 5  # of a class, for `grouped`


def default_kind(table: pd.DataFrame) -> str:
    """Return `fixed` for NEU-DET, `grouped` for other images."""
    return "fixed" if is_neu_det(table) else "grouped"


def is_neu_det(table: pd.DataFrame) -> bool:
    """Tell whether images have the classes of NEU-DET, and numbers as theirs."""
    numbers = table.groupby("label")["number"]
    in_both = (numbers.min() <= FIXED_LAST_TRAIN) & (numbers.max() > FIXED_LAST_TRAIN)
    return set(table["label"]) == set(NEU_CLASSES) and bool(in_both.all())


def find_groups(
    table: pd.DataFrame,
    kind: str,
    pairs: pd.DataFrame | None = None,
    sequential: Sequence[str] = (),
) -> np.ndarray:
    """Number the sets of images (int) that a split keeps together; identical pixels always are.

    Parameters
    ----------
    table
        As `datasets.index_images` returns it.
    kind
        One of `KINDS`: `blocked` keeps blocks of consecutive numbers together, and `grouped` what
        the others tell.
    pairs
        Near-duplicates, as `audit.near_duplicates` returns them.
    sequential
        Classes whose consecutive numbers are kept together too, as `audit.sequential_classes`
        returns them.
    """
    if kind != "grouped":
        apart = _numbered_blocks(table) if kind == "blocked" else np.arange(len(table))
        return _join(apart, table["sha256"])
    if pairs is None:
        raise UserError("the split `grouped` needs `pairs`: compute audit.near_duplicates first")
    position = pd.Series(np.arange(len(table)), table.index)
    rows, columns = position[pairs["a"]].to_numpy(), position[pairs["b"]].to_numpy()
    links = coo_array((np.ones(len(pairs)), (rows, columns)), shape=(len(table), len(table)))
    groups = _join(connected_components(links, directed=False)[1], table["sha256"])
    return _join(groups, _blocks(table, groups, sequential)) if len(sequential) else groups


def make_split(
    table: pd.DataFrame, kind: str, seed: int, groups: np.ndarray | None = None
) -> pd.Series:
    """Assign each image to a part; `TEST_SHARE` of all test, but for `fixed`.

    Groups share a part, but for `grouped`'s exception below. `VALIDATION_SHARE` of the others is
    for validation: drawn by groups, and for `fixed` by blocks of consecutive numbers, since
    neighbours come from the same strip.

    Parameters
    ----------
    table
        As `datasets.index_images` returns it.
    kind
        `fixed` (numbers 1-240 train, others test), `random`, `blocked`, or `grouped` (each class is
        in each part; where one has too few groups for that, its largest one is cut).
    seed
        Of the random draw.
    groups
        As `find_groups` returns them, by default those of the table alone.

    Returns
    -------
    Series of `train`, `validation` and `test`, on the table's index.

    Raises
    ------
    UserError
        If the kind is unknown, or a class would be missing from a part.
    """
    if kind not in KINDS:
        raise UserError(f"SPLIT {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    groups = find_groups(table, kind) if groups is None else groups
    if kind == "grouped":
        _check_sizes(table["label"])
        part = partition(table["label"].to_numpy(), groups, seed)
        return pd.Series(part, table.index, name="part")
    if kind == "fixed":
        is_test = table["number"] > FIXED_LAST_TRAIN
        if is_test.all() or not is_test.any():
            raise UserError(
                f"SPLIT 'fixed' needs files with numbers up to {FIXED_LAST_TRAIN} and others with "
                "higher ones: choose another SPLIT"
            )
        test = (is_test & ~table["sha256"].isin(table.loc[~is_test, "sha256"])).to_numpy()
        groups = _join(_numbered_blocks(table), pd.Series(groups))
    else:
        test = _draw(table, groups, TEST_SHARE, seed)
    part = pd.Series("train", table.index, name="part")
    part[test] = "test"
    known = table[~test]
    validation = _draw(known, groups[~test], VALIDATION_SHARE, seed)
    part[table.index.isin(known.index[validation])] = "validation"
    _check_every_class(table["label"], part)
    return part


def describe(
    table: pd.DataFrame,
    part: pd.Series,
    kind: str,
    seed: int,
    groups: np.ndarray,
    sequential: Sequence[str] = (),
) -> str:
    """Tell in one line how a split was drawn, and why.

    `part` is what `make_split` returns; the others are the arguments of it and of `find_groups`.
    """
    reasons = {
        "fixed": f"numbers up to {FIXED_LAST_TRAIN} train and the others test, as published",
        "random": "drawn by single images, so that near-duplicates may be on both sides",
        "blocked": f"blocks of {BLOCK} consecutive numbers kept together, as neighbours look alike",
    }
    counts = part.value_counts()
    sizes = ", ".join(f"{counts.get(name, 0)} {name}" for name in PARTS)
    reason = reasons.get(kind) or _describe_groups(table["label"], part, groups, sequential)
    return f"{kind}: {len(table)} images, {reason}; {sizes}; seed {seed}"


def groups_of(split: pd.DataFrame) -> np.ndarray:
    """Return the group of each image of a split; where it has none, those of the same pixels."""
    return pd.factorize(split["group" if "group" in split else "sha256"])[0]


def carve_validation(known: pd.DataFrame, seed: int) -> np.ndarray:
    """Draw rows for validation: bool, whole groups.

    Blocks of consecutive numbers are kept together too, where each class has enough of them.
    """
    is_long = known["label"].value_counts().min() >= N_PIECES * BLOCK
    blocks = find_groups(known, "blocked" if is_long else "random")
    groups = _join(blocks, pd.Series(groups_of(known)))
    return _draw(known, groups, VALIDATION_SHARE, seed)


def read_split(run: Path) -> pd.DataFrame:
    """Read a run's `split.csv`; UserError where it is missing or not a split.

    Returns
    -------
    One row an image: the columns of `datasets.index_images`, part, and group (`write_split`).
    """
    file = runs.require(run / runs.SPLIT)
    try:
        split = runs.read_csv(file)
    except (ValueError, OSError) as error:
        raise UserError(f"{file} is no table ({error}): run 01_data_exploration again") from error
    missing = [column for column in COLUMNS if column not in split]
    if missing or not set(split["part"]) <= set(PARTS):
        wrong = f"lacks {', '.join(missing)}" if missing else "has unknown parts"
        raise UserError(f"{file} {wrong}: run 01_data_exploration again")
    try:
        split = split.astype(dict.fromkeys(NUMBERS, int))
        split["boxes"] = split["boxes"].map(_parse_boxes)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise UserError(
            f"{file} has damaged rows ({error}): run 01_data_exploration again"
        ) from error
    return split.assign(group=groups_of(split))


def _parse_boxes(text: str) -> list[list]:
    return [
        [str(label), *map(int, (left, top, right, bottom))]
        for label, left, top, right, bottom in json.loads(text)
    ]


def drop_class(split: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return a split without the images of a class; UserError if it has none of that name."""
    if label not in set(split["label"]):
        known = ", ".join(sorted(split["label"].unique()))
        raise UserError(f"HELD_OUT_CLASS {label!r} is no class of the split: choose one of {known}")
    return split[split["label"] != label]


def write_split(
    table: pd.DataFrame, part: pd.Series, run: Path, groups: np.ndarray | None = None
) -> None:
    """Write a run's `split.csv`: the columns of `COLUMNS`, boxes as JSON, and group.

    Of `groups`, as `find_groups` returns them, one that is in two parts is written as two; without
    any, images of the same pixels are one.
    """
    split = table.assign(part=part, boxes=table["boxes"].map(json.dumps))
    groups = groups_of(table) if groups is None else groups
    within = pd.Series(groups, table.index).astype(str) + part
    split["group"] = pd.factorize(within)[0]
    runs.write_csv(split[[*COLUMNS, "group"]], run / runs.SPLIT)


def _numbered_blocks(table: pd.DataFrame) -> pd.Series:
    """Name the block of `BLOCK` consecutive numbers of each image."""
    return table["label"] + "/" + ((table["number"] - 1) // BLOCK).astype(str)


def _blocks(table: pd.DataFrame, groups: np.ndarray, sequential: Sequence[str]) -> pd.Series:
    """Name the block of each image: about `BLOCK` consecutive images, in whole groups.

    Small classes have shorter blocks, `N_PIECES` of them. Groups are in the order of their median
    number; images of classes that are not sequential have the block of their group.
    """
    blocks = pd.Series(groups, table.index).astype(str)
    for label in sequential:
        of_class = (table["label"] == label).to_numpy()
        ranks = table.loc[of_class, "number"].rank(method="first")
        order = ranks.groupby(groups[of_class]).agg(["median", "size"]).sort_values("median")
        length = max(1, min(BLOCK, of_class.sum() // N_PIECES))
        number = (order["size"].cumsum() - order["size"]) // length
        blocks[of_class] = [f"{label}/{number[group]}" for group in groups[of_class]]
    return blocks


def _join(one: np.ndarray | pd.Series, other: pd.Series) -> np.ndarray:
    """Number the sets of images that are connected by equal values of one or other key."""
    first = pd.factorize(np.asarray(one))[0]
    second = pd.factorize(np.asarray(other))[0] + first.max() + 1
    n_nodes = second.max() + 1
    links = coo_array((np.ones(len(first)), (first, second)), shape=(n_nodes, n_nodes))
    return connected_components(links, directed=False)[1][first]


def _draw(table: pd.DataFrame, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw about `share` of the rows: bool, whole groups, stratified by class."""
    n_folds = max(2, min(round(1 / share), int(table["label"].value_counts().max())))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    drawn = np.zeros(len(table), bool)
    try:
        drawn[next(folds.split(table, table["label"], groups))[1]] = True
    except ValueError as error:
        raise UserError(
            f"{len(table)} images are too few to set a share of {share} aside ({error}): "
            "add images, or choose another SPLIT"
        ) from error
    return drawn


def _check_every_class(labels: pd.Series, part: pd.Series) -> None:
    counts = pd.crosstab(labels, part).reindex(columns=PARTS, fill_value=0)
    empty = counts[(counts == 0).any(axis=1)]
    if len(empty):
        label = empty.index[0]
        absent = empty.columns[empty.loc[label] == 0][0]
        raise UserError(
            f"class {label!r} ({counts.loc[label].sum()} images) would have none in the {absent} "
            "part: add images of it, or choose another SPLIT"
        )


def _check_sizes(labels: pd.Series) -> None:
    counts = labels.value_counts()
    small = counts[counts < MIN_IMAGES].sort_index()
    if len(small):
        names = ", ".join(f"{label!r} ({count})" for label, count in small.items())
        raise UserError(
            f"too few images of {names}, where each class needs {MIN_IMAGES}: add images of it, "
            "merge its folder into another class, or remove it"
        )


def _describe_groups(
    labels: pd.Series, part: pd.Series, groups: np.ndarray, sequential: Sequence[str]
) -> str:
    reason = f"{len(set(groups))} groups, near-duplicates kept together"
    if len(sequential):
        alike = runs.first_names(sequential)
        reason += f", consecutive numbers of {alike} kept together as they look alike"
    n_parts = part.groupby(groups).transform("nunique")
    if (n_parts > 1).any():
        cut = runs.first_names(sorted(labels[n_parts > 1].unique()))
        reason += f", but {cut} had too few groups: the largest was split, its test is optimistic"
    return reason
