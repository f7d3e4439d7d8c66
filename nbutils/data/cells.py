"""Boxes as targets for the cells of a grid, and augmentation that moves images and boxes alike."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nbutils.data.corruptions import random_corruption
from nbutils.data.outliers import draw_outlier

RIM = 0.75  # cells: how far outside a box a cell counts for neither
MIN_SIDE = 4  # pixels, of a box that is left when an image is cut
EDGES = 4  # xmin, ymin, xmax, ymax


@dataclass(frozen=True)
class Samples:
    """Training images with their boxes, at the size of a network's input."""

    images: np.ndarray  # uint8 (images, size, size, 1)
    y: np.ndarray  # class numbers (int)
    boxes: list[np.ndarray]  # float32 (boxes, 5) of each: class number, xmin, ymin, xmax, ymax
    normal: tuple[int, ...] = ()  # class numbers that mean "no defect"


def read_boxes(rows: pd.DataFrame, classes: list[str], size: int) -> list[np.ndarray]:
    """Return the boxes of images, scaled to a network's input.

    Parameters
    ----------
    rows
        Of `split.csv`: boxes, (label, xmin, ymin, xmax, ymax) each; width and height; in pixels.
    classes
        Names, in the order of their numbers; boxes of other classes are left out.
    size
        Side of the network's input in pixels.

    Returns
    -------
    float32 array (boxes, 5) for each image: class number, xmin, ymin, xmax, ymax.
    """
    scaled = []
    for width, height, boxes in zip(rows["width"], rows["height"], rows["boxes"], strict=True):
        across, down = size / width, size / height
        scale = np.array([1, across, down, across, down], np.float32)
        known = [(classes.index(name), *edges) for name, *edges in boxes if name in classes]
        scaled.append(np.array(known, np.float32).reshape(-1, 1 + EDGES) * scale)
    return scaled


def with_names(boxes: Iterable[np.ndarray], classes: list[str]) -> list[list[tuple]]:
    """Return boxes as `read_boxes` returns them with names of classes instead of numbers."""
    return [[(classes[int(number)], *edges) for number, *edges in each] for each in boxes]


def channels(n_classes: int) -> int:
    """Return the last dimension of what `encode` returns."""
    return 2 * n_classes + 1 + EDGES


def encode(
    boxes: np.ndarray, n_classes: int, size: int, grid: int, unknown: tuple[int, ...] = ()
) -> np.ndarray:
    """Turn boxes into targets for the cells of a grid.

    A cell whose centre lies in a box is positive for its class, and belongs to the smallest box
    there. Cells up to `RIM` outside count for neither, since boxes are drawn loosely.

    Parameters
    ----------
    boxes
        As `read_boxes` returns them.
    n_classes
        How many classes there are.
    size, grid
        Sides of the image in pixels, and of the grid in cells.
    unknown
        Class numbers of which it is not known where they are.

    Returns
    -------
    float32 array (grid, grid, 2 classes + 5): target (0 or 1) and weight (0 or 1) for each class;
    1 where there is a box, and its edges in cells.
    """
    centers = (np.arange(grid) + 0.5) * size / grid
    target = np.zeros((grid, grid, n_classes), np.float32)
    weight = np.ones_like(target)
    box = np.zeros((grid, grid, 1 + EDGES), np.float32)
    areas = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
    rim = RIM * size / grid
    for number, left, top, right, bottom in boxes[np.argsort(-areas)]:
        near = np.ix_(_within(centers, top, bottom, rim), _within(centers, left, right, rim))
        inside = np.ix_(_within(centers, top, bottom), _within(centers, left, right))
        weight[..., int(number)][near] = target[..., int(number)][near]
        target[..., int(number)][inside] = weight[..., int(number)][inside] = 1
        box[inside] = 1, *(edge * grid / size for edge in (left, top, right, bottom))
    weight[..., list(unknown)] = 0
    return np.concatenate([target, weight, box], axis=-1)


def split_target(target, n_classes: int) -> tuple:
    """Return what `encode` has put together: target, weight, whether there is a box, its edges."""
    weight, box = n_classes, 2 * n_classes  # where they begin
    return target[..., :weight], target[..., weight:box], target[..., box], target[..., box + 1 :]


def _within(centers: np.ndarray, low: float, high: float, rim: float = 0) -> np.ndarray:
    """Mark the cells between two edges; at least the nearest one."""
    marked = (centers > low - rim) & (centers < high + rim)
    if not marked.any():
        marked[np.abs(centers - (low + high) / 2).argmin()] = True
    return marked


def turn(image: np.ndarray, boxes: np.ndarray, quarters: int, mirror: bool) -> tuple:
    """Turn an image (size, size) by quarters, and mirror it, with its boxes."""
    size, boxes = len(image), boxes.copy()
    for _ in range(quarters):
        left, top, right, bottom = boxes[:, 1:].T.copy()
        boxes[:, 1:] = np.stack([top, size - right, bottom, size - left], axis=1)
    image = np.rot90(image, quarters)
    if mirror:
        image = image[:, ::-1]
        boxes[:, [1, 3]] = size - boxes[:, [3, 1]]
    return image, boxes


def compose(parts: list[tuple], n_classes: int, rng: np.random.Generator) -> tuple:
    """Put random pieces of four images side by side, as a strip of steel shows several things.

    Mosaics of Bochkovskiy, Wang and Liao (arXiv:2004.10934), at the images' own scale; classes are
    shared by area, as in CutMix (Yun et al., ICCV 2019).

    Parameters
    ----------
    parts
        Image (size, size), boxes and class number of each of the four.
    n_classes
        How many classes there are.
    rng
        For the cut and the pieces.

    Returns
    -------
    Image, boxes, and the share of each class: float32 (classes,).
    """
    size = len(parts[0][0])
    row, column = rng.integers(size // 4, 3 * size // 4 + 1, 2)
    places = [
        (top, bottom, left, right)
        for top, bottom in ((0, row), (row, size))
        for left, right in ((0, column), (column, size))
    ]
    mosaic, kept, shares = np.empty((size, size), np.uint8), [], np.zeros(n_classes, np.float32)
    for (image, boxes, number), (top, bottom, left, right) in zip(parts, places, strict=True):
        height, width = bottom - top, right - left
        down, across = rng.integers(0, (size - height + 1, size - width + 1))
        mosaic[top:bottom, left:right] = image[down : down + height, across : across + width]
        boxes = boxes.copy()
        boxes[:, [1, 3]] = np.clip(boxes[:, [1, 3]] - across, 0, width) + left
        boxes[:, [2, 4]] = np.clip(boxes[:, [2, 4]] - down, 0, height) + top
        kept.append(boxes[(boxes[:, 3:] - boxes[:, 1:3] >= MIN_SIDE).all(axis=1)])
        shares[number] += height * width / size**2
    return mosaic, np.concatenate(kept), shares


def augment(
    samples: Samples, chosen: np.ndarray, seeds: np.ndarray, n_classes: int, grid: int,
    strength: float, mosaics: float, outliers: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Draw a batch: images turned, some put together, corrupted; their cells and their classes.

    Parameters
    ----------
    samples
        To choose from.
    chosen, seeds
        Numbers of images, and a seed for each.
    n_classes, grid
        As `encode` takes them.
    strength
        Of corruption, as `random_corruption` takes it.
    mosaics
        Share of the images that are put together from four (see `compose`).
    outliers
        Share of the images that are replaced by a drawn one, of no class and without a defect.

    Returns
    -------
    Images, float32 (batch, size, size, 1); targets, as `encode` returns them; shares of the
    classes, float32 (batch, classes).
    """
    size = samples.images.shape[1]
    images = np.empty((len(chosen), size, size, 1), np.uint8)
    shares = np.zeros((len(chosen), n_classes), np.float32)
    targets = []
    for index, (number, seed) in enumerate(zip(chosen, seeds, strict=True)):
        rng = np.random.default_rng(seed)
        if rng.random() < outliers:
            images[index, ..., 0], shares[index] = draw_outlier(size, rng), 1 / n_classes
            targets.append(encode(np.empty((0, 1 + EDGES)), n_classes, size, grid))
            continue
        numbers = [number]
        if rng.random() < mosaics:
            numbers += list(rng.integers(len(samples.y), size=3))
        parts = [_turned(samples, each, rng) for each in numbers]
        if len(parts) == 1:
            image, boxes, label = parts[0]
            shares[index, label] = 1
        else:
            image, boxes, shares[index] = compose(parts, n_classes, rng)
        images[index, ..., 0] = image
        unknown = {label for _, known, label in parts if not (known[:, 0] == label).any()}
        unknown -= set(samples.normal)
        targets.append(encode(boxes, n_classes, size, grid, tuple(unknown)))
    corrupted = random_corruption(images, seeds, strength) if strength else images
    return corrupted.astype(np.float32), np.stack(targets), shares


def _turned(samples: Samples, number: int, rng: np.random.Generator) -> tuple:
    image, boxes = samples.images[number, ..., 0], samples.boxes[number]
    turned = turn(image, boxes, int(rng.integers(4)), bool(rng.integers(2)))
    return *turned, int(samples.y[number])
