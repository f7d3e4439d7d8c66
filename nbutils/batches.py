"""What a training is fed with: its images in a new order and newly corrupted, and its judges."""

import numpy as np

from nbutils import corruptions
from nbutils.backend import tf

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 (n, size, size, 1), classes int (n,)


def shuffled(arrays: tuple, settings: dict) -> tf.data.Dataset:
    """Batch training images in a new order each epoch, newly corrupted.

    Parameters
    ----------
    arrays
        As `Arrays`; instead of the images there may be a pair of images and masks of boxes.
    settings
        `batch_size`, `seed`, and `corruption`: strength, as `corruptions.spoil` takes it.
    """
    size, seed, strength = (settings[key] for key in ("batch_size", "seed", "corruption"))
    rows = tf.data.Dataset.from_tensor_slices(arrays).shuffle(len(arrays[1]), seed=seed).batch(size)
    if strength:
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(size)
        rows = tf.data.Dataset.zip(rows, seeds).map(
            lambda rows, seeds: _spoiled(rows, seeds, strength), tf.data.AUTOTUNE
        )
    return rows.prefetch(tf.data.AUTOTUNE)


def judging(validation: Arrays, settings: dict) -> tf.data.Dataset:
    """Batch validation images, and a corrupted copy of each where training corrupts.

    Settings are those of `shuffled`. The copies are the same in each epoch.
    """
    squares, numbers = validation
    if settings["corruption"]:
        seeds = np.arange(len(squares)) + 1_000_000 * (1 + settings["seed"])
        spoiled = corruptions.spoil(squares, seeds, settings["corruption"])
        squares, numbers = np.concatenate([squares, spoiled]), np.concatenate([numbers, numbers])
    rows = tf.data.Dataset.from_tensor_slices((squares, numbers))
    return rows.batch(settings["batch_size"]).prefetch(tf.data.AUTOTUNE)


def _spoiled(rows: tuple, seeds: tf.Tensor, strength: float) -> tuple:
    """Corrupt the images of a batch, and leave boxes and class numbers as they are."""
    inputs, numbers = rows
    images, *masks = inputs if isinstance(inputs, tuple) else (inputs,)
    spoiled = tf.numpy_function(
        lambda squares, each: corruptions.spoil(squares, each[: len(squares)], strength),
        (images, seeds),
        tf.uint8,
    )
    spoiled = tf.ensure_shape(spoiled, images.shape)
    return (spoiled, *masks) if masks else spoiled, numbers
