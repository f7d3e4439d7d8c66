"""Train a model so that an interruption costs one epoch at most."""

import hashlib
import json
import platform
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import runs
from nbutils.data.corruptions import random_corruption
from nbutils.models.history import Arrays, HistoryCheckpoint, best_epoch
from nbutils.models.networks import CUSTOM_CNN
from nbutils.runs import UserError
from nbutils.runtime import keras, tf

COMMON_SETTINGS = {
    "batch_size": 32,
    "weight_decay": 1e-4,
    "patience": 15,
    "head": False,
    "corruption": 0.0,
    "box_weight": 0.0,
    "freeze_batch_norm": False,
}
RECIPES = {CUSTOM_CNN: {"epochs": 30, "learning_rate": 2e-3, "tta_views": 8}}  # all others:
FINE_TUNING = {
    "epochs": 8,
    "learning_rate": 1e-4,
    "tta_views": 1,
    "patience": 4,
    "corruption": 1.0,
    "freeze_batch_norm": True,
}
MAX_GRADIENT_NORM = 1.0  # of a step that starts from trained weights
RULES = {  # setting -> what it has to be, in code and in words
    "epochs": (lambda value: isinstance(value, int) and value >= 0, "give a whole number"),
    "batch_size": (lambda value: isinstance(value, int) and value > 0, "give 1 or more images"),
    "patience": (lambda value: isinstance(value, int) and value > 0, "give 1 or more epochs"),
    "tta_views": (lambda value: value in (1, 8), "give 1 or 8"),
    "learning_rate": (lambda value: _is_number(value) and value > 0, "give a number over 0"),
    "weight_decay": (lambda value: _is_number(value) and value >= 0, "give 0 or more"),
    "corruption": (lambda value: _is_number(value) and 0 <= value <= 1, "give 0 to 1"),
    "box_weight": (lambda value: _is_number(value) and value >= 0, "give 0 or more"),
    "freeze_batch_norm": (lambda value: isinstance(value, bool), "give True or False"),
}


def recipe(name: str, **chosen) -> dict:
    """Return a network's own settings, with those that were chosen and are not None.

    They are what `fit` takes, and tta_views (averaged at prediction). Raises UserError for a value
    that cannot be.
    """
    chosen = {key: value for key, value in chosen.items() if value is not None}
    settings = COMMON_SETTINGS | RECIPES.get(name, FINE_TUNING) | chosen
    for key, (is_valid, cure) in RULES.items():
        if not is_valid(settings[key]):
            raise UserError(f"{key.upper()} {settings[key]!r}: {cure}")
    if not settings["epochs"] and not settings["head"]:
        raise UserError("EPOCHS 0 leaves a network without a trained head untrained: give it some")
    return settings


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def set_seeds(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow, for weights, dropout and order."""
    keras.utils.set_random_seed(seed)


def training_dataset(arrays: tuple, settings: dict) -> tf.data.Dataset:
    """Batch training images in a new order each epoch, newly corrupted.

    Parameters
    ----------
    arrays
        As `Arrays`; instead of the images there may be a pair of images and box targets.
    settings
        `batch_size`, `seed`, and `corruption`: strength, as `random_corruption` takes it.
    """
    size, seed, strength = (settings[key] for key in ("batch_size", "seed", "corruption"))
    rows = tf.data.Dataset.from_tensor_slices(arrays).shuffle(len(arrays[1]), seed=seed).batch(size)
    if strength:
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(size)
        rows = tf.data.Dataset.zip(rows, seeds).map(
            lambda rows, seeds: _corrupt_batch(rows, seeds, strength), tf.data.AUTOTUNE
        )
    return rows.prefetch(tf.data.AUTOTUNE)


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
    """Corrupt the images of a batch, and leave box targets and class numbers as they are."""
    inputs, y = rows
    images, *targets = inputs if isinstance(inputs, tuple) else (inputs,)
    corrupted = tf.numpy_function(
        lambda images, seeds: random_corruption(images, seeds[: len(images)], strength),
        (images, seeds),
        tf.uint8,
    )
    corrupted = tf.ensure_shape(corrupted, images.shape)
    return (corrupted, *targets) if targets else corrupted, y


def make_optimizer(settings: dict, n_images: int) -> keras.optimizers.Optimizer:
    """Build AdamW whose learning rate warms up for two epochs and then falls as a cosine to zero.

    Parameters
    ----------
    settings
        `epochs`, `batch_size`, `learning_rate` (the peak) and `weight_decay`; with `head`, steps
        are clipped to `MAX_GRADIENT_NORM`, so that none throws trained weights away.
    n_images
        Of the training part.
    """
    steps = -(-n_images // settings["batch_size"])
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings["learning_rate"] / 10,
        decay_steps=max((settings["epochs"] - 2) * steps, 1),
        warmup_target=settings["learning_rate"],
        warmup_steps=2 * steps,
    )
    clipnorm = MAX_GRADIENT_NORM if settings["head"] else None
    return keras.optimizers.AdamW(
        schedule, weight_decay=settings["weight_decay"], clipnorm=clipnorm
    )


def fit(
    trainer: keras.Model,
    train: Arrays,
    validation: Arrays,
    folder: Path,
    settings: dict,
    box_targets: np.ndarray | None = None,
) -> pd.DataFrame:
    """Train a model and leave it with the weights of its `best_epoch`.

    An interrupted run with the same settings and images goes on where it was; others start anew.

    Parameters
    ----------
    trainer
        Compiled; a network from images (n, size, size, 1) in [0, 255] to class probabilities, or a
        `BoxSupervisedModel` of one.
    train, validation
        Images and class numbers; validation chooses the epoch.
    folder
        Of the model; receives `history.csv`, `tensorboard/` and, until the end, `training/`.
    settings
        As `recipe` returns them, and whatever else must not differ on resuming. With `head`, the
        weights at the start are trained already: they are then epoch 0, and may be the best. With
        `corruption`, validation has a corrupted copy of each image too. What comes after epoch 0
        is kept only if it is as accurate as that, on clean and on corrupted images.
    box_targets
        Of the training images, for a `BoxSupervisedModel`.

    Returns
    -------
    One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, val_clean_accuracy (without
    corrupted copies), learning_rate, seconds.
    """
    network = getattr(trainer, "network", trainer)
    state = folder / "training"
    _discard_other(state, settings | {"images": _digest(train, validation)})
    clean = validation if settings["corruption"] else None
    checkpoint = HistoryCheckpoint(
        network, clean, folder / runs.HISTORY, state, settings["epochs"], settings["patience"]
    )
    tensorboard = keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False)
    backup = keras.callbacks.BackupAndRestore(state / "backup", double_checkpoint=True)
    validation_batches = validation_dataset(validation, settings)
    if settings["head"]:
        checkpoint.evaluate_initial(trainer, validation_batches)
    rows = train if box_targets is None else ((train[0], box_targets), train[1])
    trainer.fit(
        training_dataset(rows, settings),
        validation_data=validation_batches,
        epochs=settings["epochs"],
        callbacks=[checkpoint, tensorboard, backup],
        shuffle=False,  # the data set shuffles
        verbose=0,
    )
    history = pd.DataFrame(checkpoint.rows)
    network.load_weights(checkpoint.weights_of(best_epoch(history, settings["epochs"])))
    return history


def save_model(model: keras.Model, card: dict, folder: Path) -> None:
    """Write `model.keras` (without optimizer state) and `model.json`; training is then over.

    What describes the weights that were there before is removed first.
    """
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    runs.discard_stale(folder)
    with runs.atomic_write(folder / runs.KERAS_MODEL) as tmp:
        bare.save(tmp)
    facts = {"parameters": model.count_params(), "versions": versions()}
    runs.write_json(card | facts, folder / runs.MODEL_CARD)
    shutil.rmtree(folder / "training", ignore_errors=True)


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def _discard_other(state: Path, settings: dict) -> None:
    """Remove what is left of a training with other settings, or that cannot be resumed."""
    file = state / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True)
    same = file.exists() and file.read_text(encoding="utf-8") == text
    if not (same and any((state / "backup").glob("*"))):
        shutil.rmtree(state, ignore_errors=True)
        shutil.rmtree(state.parent / "tensorboard", ignore_errors=True)
        (state.parent / runs.HISTORY).unlink(missing_ok=True)
        state.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")


def _digest(*parts: Arrays) -> str:
    """Return what stands for the images and their class numbers."""
    digest = hashlib.sha256()
    for images, y in parts:
        digest.update(images.tobytes())
        digest.update(y.tobytes())
    return digest.hexdigest()
