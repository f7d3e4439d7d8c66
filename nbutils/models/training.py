"""Train a model so that an interruption costs one epoch at most, and a map trained after it."""

import hashlib
import math
import platform
import shutil
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nbutils import disk, runs
from nbutils.artefacts import TTA_VIEWS, digested
from nbutils.data.cells import Samples
from nbutils.disk import UserError
from nbutils.models import batches, defect_head, resuming
from nbutils.models.defect_head import DefectTrainer
from nbutils.models.history import Arrays, HistoryCheckpoint
from nbutils.models.history import best_epoch as best_epoch
from nbutils.models.networks import CUSTOM_CNN
from nbutils.models.resuming import EpochDraws
from nbutils.runtime import keras, tf

COMMON_SETTINGS = {
    "batch_size": 32,
    "weight_decay": 1e-4,
    "patience": 15,
    "head": False,
    "corruption": 0.0,
    "map_weight": 1.0,
    "mosaics": 0.0,
    "outliers": 0.1,
    "head_epochs": 0,
    "freeze_batch_norm": False,
}
HEAD_STEPS = 1500  # of the map where images have boxes, which it learns more from than from guesses
HEAD_EPOCHS_WITH_BOXES = (40, 100)  # at least, and at most
HEAD_CORRUPTION = 0.5  # times `corruption`, while the map is trained alone: places need detail
RECIPES = {CUSTOM_CNN: {"epochs": 30, "learning_rate": 2e-3, "tta_views": 8}}  # all others:
FINE_TUNING = {
    "epochs": 8,
    "learning_rate": 5e-5,
    "tta_views": 4,
    "patience": 4,
    "corruption": 1.0,
    "map_weight": 0.0,
    "head_epochs": 24,
    "freeze_batch_norm": True,
}
STATE = "training"  # folder of all that is kept until the training is over
MAX_GRADIENT_NORM = 1.0  # of a step that starts from trained weights
RULES = {  # setting -> what it has to be, in code and in words
    "epochs": (lambda value: _is_whole(value) and value >= 0, "give a whole number"),
    "batch_size": (lambda value: _is_whole(value) and value > 0, "give 1 or more images"),
    "patience": (lambda value: _is_whole(value) and value > 0, "give 1 or more epochs"),
    "tta_views": (lambda value: _is_whole(value) and value in TTA_VIEWS, "give 1, 4 or 8"),
    "learning_rate": (lambda value: _is_number(value) and 0 < value <= 1, "give 0 to 1, not 0"),
    "weight_decay": (lambda value: _is_number(value) and value >= 0, "give 0 or more"),
    "corruption": (lambda value: _is_number(value) and 0 <= value <= 1, "give 0 to 1"),
    "map_weight": (lambda value: _is_number(value) and value >= 0, "give 0 or more"),
    "outliers": (lambda value: _is_number(value) and 0 <= value < 1, "give 0 to below 1"),
    "mosaics": (lambda value: _is_number(value) and 0 <= value <= 1, "give 0 to 1"),
    "head_epochs": (lambda value: _is_whole(value) and value >= 0, "give a whole number"),
    "freeze_batch_norm": (lambda value: isinstance(value, bool), "give True or False"),
}


def recipe(name: str, n_boxed: int = 0, **chosen) -> dict:
    """Return a network's own settings, with those that were chosen and are not None.

    They are what `fit` takes, and tta_views (averaged at prediction). Where training images have
    boxes, `n_boxed` is how many images there are: a map that is trained after the class is then
    trained for about `HEAD_STEPS`. Raises UserError for a value that cannot be.
    """
    chosen = {key: value for key, value in chosen.items() if value is not None}
    settings: dict[str, Any] = COMMON_SETTINGS | RECIPES.get(name, FINE_TUNING) | chosen
    for key, (is_valid, cure) in RULES.items():
        if not is_valid(settings[key]):
            raise UserError(f"{key.upper()} {settings[key]!r}: {cure}")
    if settings["head_epochs"] and n_boxed and "head_epochs" not in chosen:
        settings["head_epochs"] = _head_epochs(n_boxed, settings["batch_size"])
    if not settings["epochs"] and not settings["head"]:
        raise UserError("EPOCHS 0 leaves a network without a trained head untrained: give it some")
    return settings


def _head_epochs(n_images: int, batch_size: int) -> int:
    """Return the epochs in which a map is trained for `HEAD_STEPS`, as far as allowed."""
    least, most = HEAD_EPOCHS_WITH_BOXES
    epochs = -(-HEAD_STEPS // -(-n_images // batch_size))
    return min(max(epochs, least), most)


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def set_seeds(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow, for weights, dropout and order."""
    keras.utils.set_random_seed(seed)


def make_optimizer(settings: dict) -> keras.optimizers.Optimizer:
    """Build AdamW; `fit` sets its learning rate before each step.

    Parameters
    ----------
    settings
        `learning_rate` (the peak) and `weight_decay`; with `head`, steps are clipped to
        `MAX_GRADIENT_NORM`, so that none throws trained weights away.
    """
    clipnorm = MAX_GRADIENT_NORM if settings["head"] else None
    return keras.optimizers.AdamW(
        settings["learning_rate"], weight_decay=settings["weight_decay"], clipnorm=clipnorm
    )


class LearningRate(keras.callbacks.Callback):
    """Warms up for two epochs, and then falls as a cosine to zero, step by step.

    An optimizer that is given the schedule itself evaluates it for each weight, and the graph of
    those takes half a minute to build.

    Parameters
    ----------
    settings
        `epochs`, `batch_size` and `learning_rate` (the peak).
    n_images
        Of the training part.
    """

    def __init__(self, settings: dict, n_images: int):
        super().__init__()
        steps = -(-n_images // settings["batch_size"])
        self.schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=settings["learning_rate"] / 10,
            decay_steps=max((settings["epochs"] - 2) * steps, 1),
            warmup_target=settings["learning_rate"],
            warmup_steps=2 * steps,
        )

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rate of the step."""
        optimizer = self.model.optimizer
        optimizer.learning_rate = self.schedule(optimizer.iterations)


def fit(
    trainer: keras.Model,
    train: Arrays,
    validation: Arrays,
    folder: Path,
    settings: dict,
    boxes: list[np.ndarray] | None = None,
    normal: tuple[int, ...] = (),
) -> pd.DataFrame:
    """Train a model and leave it with the weights of its `best_epoch`.

    An interrupted run with the same settings and images goes on where it was; others start anew.

    Parameters
    ----------
    trainer
        Compiled; a network from images (n, size, size, 1) in [0, 255] to class probabilities, or a
        `DefectTrainer` of one that has cells as well.
    train, validation
        Images and class numbers; validation chooses the epoch.
    folder
        Of the model; receives `tensorboard/` and, until `save_model`, `training/`.
    settings
        As `recipe` returns them, and whatever else must not differ on resuming. With `head`, the
        weights at the start are trained already: they are then epoch 0, and may be the best. With
        `corruption`, validation has a corrupted copy of each image too. What comes after epoch 0
        is kept only if it is as accurate as that, on clean and on corrupted images.
    boxes, normal
        For a `DefectTrainer`: as `cells.Samples` holds them.

    Returns
    -------
    One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, val_clean_accuracy (without
    corrupted copies), learning_rate, seconds.
    """
    with ExitStack() as on_error:
        on_error.callback(disk.unlock, folder)
        disk.lock(folder)
        state = folder / STATE
        resuming.begin(
            state,
            settings | versions() | {"images": _digest(train, validation, tuple(boxes or ()))},
        )
        history = _fit(trainer, train, validation, state, settings, boxes, normal)
        on_error.pop_all()  # `save_model` gives the folder back
    return history


def _fit(
    trainer: keras.Model,
    train: Arrays,
    validation: Arrays,
    state: Path,
    settings: dict,
    boxes: list[np.ndarray] | None,
    normal: tuple[int, ...],
) -> pd.DataFrame:
    """Train as `fit` does, from the newest backup in `state` on."""
    draws = EpochDraws(len(train[1]), settings)
    network = getattr(trainer, "network", trainer)
    clean = validation if settings["corruption"] else None
    checkpoint = HistoryCheckpoint(network, clean, state, settings, draws)
    done = checkpoint.resume(trainer)
    held_out = batches.validation_dataset(validation, settings)
    samples = Samples(*train, boxes or [], normal)
    drawn = _training_batches(trainer, samples, settings, draws)
    if settings["head"]:
        checkpoint.evaluate_initial(trainer, held_out)
    if not checkpoint.is_over():
        _train_epochs(trainer, drawn, held_out, checkpoint, done)
    elif done:
        print(f"the training of {done} epochs was over, but for its saving", flush=True)
    history = checkpoint.load_best()
    if isinstance(trainer, DefectTrainer) and settings["head_epochs"]:
        _train_map(trainer, samples, settings, draws)
    return history


def _train_map(trainer: DefectTrainer, samples: Samples, settings: dict, draws: EpochDraws) -> None:
    """Train the map alone, with milder corruption, and on whole images, whose boxes are whole."""
    print(f"training the map alone for {settings['head_epochs']} epochs", flush=True)
    draws.epoch = settings["epochs"]
    resuming.seed_layers(trainer.network, settings["seed"], settings["epochs"])
    milder = {"corruption": settings["corruption"] * HEAD_CORRUPTION, "mosaics": 0.0}
    drawn = _training_batches(trainer, samples, settings | milder, draws)
    defect_head.train(trainer, drawn, settings["head_epochs"])


def _training_batches(
    trainer: keras.Model, samples: Samples, settings: dict, draws: EpochDraws
) -> tf.data.Dataset:
    """Return the batches that a trainer learns from: with cells, if it has some."""
    if isinstance(trainer, DefectTrainer):
        return batches.boxes_dataset(samples, trainer.n_classes, trainer.grid, settings, draws)
    return batches.training_dataset((samples.images, samples.y), settings, draws)


def _train_epochs(
    trainer: keras.Model,
    drawn: tf.data.Dataset,
    held_out: tf.data.Dataset,
    checkpoint: HistoryCheckpoint,
    done: int,
) -> None:
    """Train from the epoch after the last one that is done, until the schedule ends or stops."""
    _build_state(trainer, checkpoint.network)
    curves = checkpoint.state.parent / "tensorboard"
    callbacks = [
        LearningRate(checkpoint.settings, checkpoint.draws.n_images),
        checkpoint,
        keras.callbacks.TensorBoard(curves, write_graph=False),
    ]
    epochs = {"initial_epoch": done, "epochs": checkpoint.settings["epochs"]}
    with resuming.curve_errors(curves):
        trainer.fit(  # the data set shuffles
            drawn, validation_data=held_out, shuffle=False, verbose=0, callbacks=callbacks, **epochs
        )


def _build_state(trainer: keras.Model, network: keras.Model) -> None:
    """Make the variables of optimizer and metrics: a step that makes some is built twice."""
    trainer.optimizer.build(trainer.trainable_variables)
    n_classes = network.outputs[0].shape[-1]
    trainer.compute_metrics(None, np.zeros(1, int), np.full((1, n_classes), 1 / n_classes))
    trainer.reset_metrics()


def save_model(model: keras.Model, card: dict, folder: Path) -> None:
    """Write `model.keras` (without optimizer state) and `model.json`; training is then over.

    What describes the weights that were there before is removed first. What the training has left
    stays until all is written, so that an interruption costs none of it.
    """
    disk.lock(folder)
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    runs.discard_stale(folder)
    with digested(folder / runs.KERAS_MODEL), disk.atomic_write(folder / runs.KERAS_MODEL) as tmp:
        bare.save(tmp)
    if (folder / STATE / runs.HISTORY).exists():
        with disk.atomic_write(folder / runs.HISTORY) as tmp:
            shutil.copyfile(folder / STATE / runs.HISTORY, tmp)
    facts = {"parameters": model.count_params(), "versions": versions()}
    with digested(folder / runs.MODEL_CARD):
        runs.write_json(card | facts, folder / runs.MODEL_CARD)
    shutil.rmtree(folder / STATE, ignore_errors=True)
    disk.unlock(folder)


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def _digest(*parts: tuple[np.ndarray, ...]) -> str:
    """Return what stands for the images, their class numbers and their boxes."""
    digest = hashlib.sha256()
    for array in chain.from_iterable(parts):
        digest.update(array.tobytes())
    return digest.hexdigest()
