"""One seeded split into training, validation and test part, saved as `split.csv`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from nbutils import runs
from nbutils.data.layouts import NEU_CLASSES
from nbutils.runs import UserError

PARTS = ("train", "validation", "test")
KINDS = ("fixed", "random", "blocked")
COLUMNS = ["path", "label", "number", "width", "height", "boxes", "sha256", "part"]
FIXED_LAST_TRAIN = 240  # the Kaggle edition trains on images 1-240 of each class
BLOCK = 10  # consecutive numbers that stay together


def default_kind(table: pd.DataFrame) -> str:
    """Return `fixed` for NEU-DET's classes and numbers, `blocked` for other images."""
    numbers = table.groupby("label")["number"]
    in_both = (numbers.min() <= FIXED_LAST_TRAIN) & (numbers.max() > FIXED_LAST_TRAIN)
    return "fixed" if set(table["label"]) == set(NEU_CLASSES) and in_both.all() else "blocked"


def make_split(
    table: pd.DataFrame,
    kind: str,
    seed: int,
    test_share: float = 0.2,
    validation_share: float = 0.15,
) -> pd.Series:
    """Assign each image to a part.

    Images with the same pixels always share a part. Validation is drawn from the training part: by
    images for `random`, else by blocks of consecutive numbers, since neighbours come from the same
    strip.

    Parameters
    ----------
    table
        As `datasets.index_images` returns it.
    kind
        `fixed` (numbers 1-240 train, others test), `random`, or `blocked`.
    seed
        Of the random draw.
    test_share
        Share of all images in the test part; `fixed` ignores it.
    validation_share
        Share of the training part that becomes validation.

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
    groups = _groups(table, by_block=kind != "random")
    if kind == "fixed":
        is_test = table["number"] > FIXED_LAST_TRAIN
        test = (is_test & ~table["sha256"].isin(table.loc[~is_test, "sha256"])).to_numpy()
    else:
        test = _draw(table, groups, test_share, seed)
    part = pd.Series("train", table.index, name="part")
    part[test] = "test"
    known = table[~test]
    validation = _draw(known, groups[~test], validation_share, seed)
    part[table.index.isin(known.index[validation])] = "validation"
    _check_every_class(table["label"], part)
    return part


def carve_validation(known: pd.DataFrame, seed: int, share: float = 0.15) -> np.ndarray:
    """Draw a share of the rows for validation: bool, whole blocks of consecutive numbers."""
    return _draw(known, _groups(known, by_block=True), share, seed)


def read_split(run: Path) -> pd.DataFrame:
    """Read a run's `split.csv`; UserError where it is missing or not a split.

    Returns
    -------
    One row an image: the columns of `datasets.index_images`, and part.
    """
    file = runs.require(run / runs.SPLIT)
    try:
        split = runs.read_csv(file)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no table ({error}): run 01_data_exploration again") from error
    missing = [column for column in COLUMNS if column not in split]
    if missing or not set(split["part"]) <= set(PARTS):
        wrong = f"lacks {', '.join(missing)}" if missing else "has unknown parts"
        raise UserError(f"{file} {wrong}: run 01_data_exploration again")
    split["boxes"] = split["boxes"].map(json.loads)
    return split


def drop_class(split: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return a split without the images of a class; UserError if it has none of that name."""
    if label not in set(split["label"]):
        known = ", ".join(sorted(split["label"].unique()))
        raise UserError(f"HELD_OUT_CLASS {label!r} is no class of the split: choose one of {known}")
    return split[split["label"] != label]


def write_split(table: pd.DataFrame, part: pd.Series, run: Path) -> None:
    """Write a run's `split.csv`: the columns of `COLUMNS`, boxes as JSON."""
    split = table.assign(part=part, boxes=table["boxes"].map(json.dumps))
    runs.write_csv(split[COLUMNS], run / runs.SPLIT)


def _groups(table: pd.DataFrame, by_block: bool) -> np.ndarray:
    """Number the sets of images that must share a part."""
    if by_block:
        block = table["label"] + "/" + ((table["number"] - 1) // BLOCK).astype(str)
        keys = pd.factorize(block)[0]
    else:
        keys = np.arange(len(table))
    pixels = pd.factorize(table["sha256"])[0] + keys.max() + 1
    n_nodes = pixels.max() + 1
    links = coo_array((np.ones(len(table)), (keys, pixels)), shape=(n_nodes, n_nodes))
    return connected_components(links, directed=False)[1][keys]


def _draw(table: pd.DataFrame, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw about `share` of the rows: bool, whole groups, stratified by class."""
    folds = StratifiedGroupKFold(max(2, round(1 / share)), shuffle=True, random_state=seed)
    drawn = np.zeros(len(table), bool)
    try:
        drawn[next(folds.split(table, table["label"], groups))[1]] = True
    except ValueError as error:
        raise UserError(
            f"{len(table)} images are too few to set a share of {share} aside ({error}): "
            "add images, or raise the share"
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
