"""Batches of images to train on, turned and corrupted anew each epoch, and to validate on."""

from functools import partial

import numpy as np

from nbutils.data import cells
from nbutils.data.cells import Samples
from nbutils.data.corruptions import random_corruption
from nbutils.models.history import Arrays
from nbutils.models.resuming import EpochDraws
from nbutils.runtime import tf


def training_dataset(
    arrays: Arrays, settings: dict, draws: EpochDraws | None = None
) -> tf.data.Dataset:
    """Batch training images in a new order each epoch, newly corrupted.

    Parameters
    ----------
    arrays
        As `Arrays`.
    settings
        `batch_size`, `seed`, and `corruption`: strength, as `random_corruption` takes it.
    draws
        Of the first epoch by default.
    """
    draws = draws or EpochDraws(len(arrays[1]), settings)
    with tf.device("CPU"):
        images, y = (tf.constant(values) for values in arrays)
    rows = draws.dataset().map(
        lambda chosen, seeds: ((tf.gather(images, chosen), tf.gather(y, chosen)), seeds)
    )
    if settings["corruption"]:
        rows = rows.map(
            lambda rows, seeds: (_corrupt_batch(rows, seeds, settings["corruption"]), seeds),
            tf.data.AUTOTUNE,
        )
    return rows.map(lambda rows, seeds: rows).prefetch(tf.data.AUTOTUNE)


def boxes_dataset(
    samples: Samples, n_classes: int, grid: int, settings: dict, draws: EpochDraws | None = None
) -> tf.data.Dataset:
    """Batch training images with the cells of their boxes, in a new order each epoch.

    Parameters
    ----------
    samples
        Images with their boxes.
    n_classes, grid
        As `cells.augment` takes them.
    settings
        Those of `training_dataset`, `mosaics` and `outliers`.
    draws
        Of the first epoch by default.

    Returns
    -------
    Batches of ((images, cells), shares of the classes), as `cells.augment` draws them.
    """
    draws = draws or EpochDraws(len(samples.y), settings)
    rates = tuple(settings[key] for key in ("corruption", "mosaics", "outliers"))
    drawn = partial(_augment, samples, n_classes, grid, rates)
    return draws.dataset().map(drawn, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _augment(samples: Samples, n_classes: int, grid: int, rates: tuple[float, ...], *drawn):
    """Run `cells.augment` within a graph."""
    images, target, shares = tf.numpy_function(
        lambda chosen, seeds: cells.augment(
            samples, chosen, seeds[: len(chosen)], n_classes, grid, *rates
        ),
        drawn,
        (tf.float32, tf.float32, tf.float32),
    )
    images = tf.ensure_shape(images, (None, *samples.images.shape[1:]))
    target = tf.ensure_shape(target, (None, grid, grid, cells.channels(n_classes)))
    return (images, target), tf.ensure_shape(shares, (None, n_classes))


def validation_dataset(validation: Arrays, settings: dict) -> tf.data.Dataset:
    """Batch validation images, and a corrupted copy of each where training corrupts.

    Settings are those of `training_dataset`. The copies are the same in each epoch.
    """
    images, y = validation
    if settings["corruption"]:
        seeds = np.arange(len(images)) + 1_000_000 * (1 + settings["seed"])
        corrupted = random_corruption(images, seeds, settings["corruption"])
        images, y = np.concatenate([images, corrupted]), np.concatenate([y, y])
    rows = tf.data.Dataset.from_tensor_slices((images, y))
    return rows.batch(settings["batch_size"]).prefetch(tf.data.AUTOTUNE)


def _corrupt_batch(rows: tuple, seeds: tf.Tensor, strength: float) -> tuple:
    """Corrupt the images of a batch, and leave class numbers as they are."""
    images, y = rows
    corrupted = tf.numpy_function(
        lambda images, seeds: random_corruption(images, seeds[: len(images)], strength),
        (images, seeds),
        tf.uint8,
    )
    return tf.ensure_shape(corrupted, images.shape), y
