"""Partition of images into parts: whole groups, and each class in each part."""

import numpy as np
import pandas as pd

PARTS = ("train", "validation", "test")
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.15  # of all images; of those that do not test
N_PIECES = 7  # that a group is cut into where a class has too few groups


def partition(labels: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Assign whole groups to parts, class by class, those with the fewest groups first.

    A group that spans two classes goes where the first of them puts it.

    Parameters
    ----------
    labels, groups
        Class and group number of each image.
    seed
        Of the random draw.

    Returns
    -------
    One of `PARTS` for each image (object); each class is in each of them.
    """
    rng = np.random.default_rng(seed)
    groups, part = groups.copy(), np.full(len(labels), "", object)
    classes = sorted(np.unique(labels), key=lambda label: len(set(groups[labels == label])))
    for label in classes:
        members = np.flatnonzero(labels == label)
        _cut_groups(groups, part, members)
        _fill(groups, part, members, rng)
    return part


def _cut_groups(groups: np.ndarray, part: np.ndarray, members: np.ndarray) -> None:
    """Cut the largest groups of a class, in place, until it can have images in each part.

    Pieces are runs of consecutive images, as those look most alike.
    """
    while True:
        is_free = part[members] == ""
        n_missing = len(set(PARTS) - set(part[members]))
        if len(np.unique(groups[members][is_free])) >= n_missing:
            return
        sizes = pd.Series(groups[members]).value_counts()
        fixed = np.unique(groups[members][~is_free])
        largest = sizes[(sizes > 1) | sizes.index.isin(fixed)].idxmax()
        images = members[groups[members] == largest]
        for piece in np.array_split(images, min(len(images), N_PIECES)):
            groups[piece] = groups.max() + 1
        part[images] = ""


def _fill(
    groups: np.ndarray,
    part: np.ndarray,
    members: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Assign the free groups of a class, in place: the largest trains, others are drawn."""
    free = pd.Series(groups[members][part[members] == ""]).value_counts(sort=False)
    sizes = free.sample(frac=1, random_state=rng)
    chosen = {"train": [] if "train" in part[members] else [sizes.idxmax()]}
    sizes = sizes.drop(chosen["train"])
    n_left = len(members)
    for name, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE)):
        n_here = int((part[members] == name).sum())
        keep = name == "test" and "validation" not in part[members]  # one group for validation
        candidates = sizes.drop(sizes.idxmin()) if keep else sizes
        chosen[name] = _draw_groups(candidates, n_here, max(1, round(share * n_left)))
        n_left -= n_here + int(sizes.loc[chosen[name]].sum())
        sizes = sizes.drop(chosen[name])
    chosen["train"] += list(sizes.index)
    for name, of_part in chosen.items():
        part[np.isin(groups, of_part)] = name


def _draw_groups(sizes: pd.Series, n_images: int, target: int) -> list:
    """Choose groups, in their order, that bring a part from `n_images` nearer to its target."""
    chosen = []
    for group, size in sizes.items():
        if abs(n_images + size - target) < abs(n_images - target):
            chosen.append(group)
            n_images += size
    return chosen if n_images else [sizes.idxmin()]
