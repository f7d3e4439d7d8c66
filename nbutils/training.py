"""Train a model so that an interruption costs one epoch at most."""

import hashlib
import json
import platform
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import batches, drift, guidance, models, paths, trust
from nbutils.backend import keras, tf
from nbutils.batches import Arrays
from nbutils.paths import UserError
from nbutils.predict import BACKENDS
from nbutils.progress import Record, best_epoch

KERAS, _ = BACKENDS["keras"]  # file of the model
BACKUP = "backup"  # Keras' own state, in `training/` of a run
COMMON = {"batch_size": 32, "weight_decay": 1e-4, "patience": 15, "head": False, "corruption": 0.0,
          "boxes": 0.0}  # fmt: skip
RECIPES = {models.CUSTOM: {"epochs": 30, "learning_rate": 2e-3, "views": 8}}  # all others:
FINE_TUNING = {"epochs": 8, "learning_rate": 2e-4, "views": 1}
RULES = {  # setting -> what it has to be, in code and in words
    "epochs": (lambda value: isinstance(value, int) and value >= 0, "give a whole number"),
    "batch_size": (lambda value: isinstance(value, int) and value > 0, "give 1 or more images"),
    "patience": (lambda value: isinstance(value, int) and value > 0, "give 1 or more epochs"),
    "views": (lambda value: value in (1, 8), "give 1 or 8"),
    "learning_rate": (lambda value: _is_number(value) and value > 0, "give a number over 0"),
    "weight_decay": (lambda value: _is_number(value) and value >= 0, "give 0 or more"),
    "corruption": (lambda value: _is_number(value) and 0 <= value <= 1, "give 0 to 1"),
    "boxes": (lambda value: _is_number(value) and value >= 0, "give 0 or more"),
}


def recipe(name: str, **chosen) -> dict:
    """Return a network's own settings, with those that were chosen and are not None.

    They are what `fit` takes, and views (averaged at prediction). Raises UserError for a value that
    cannot be.
    """
    chosen = {key: value for key, value in chosen.items() if value is not None}
    settings = COMMON | RECIPES.get(name, FINE_TUNING) | chosen
    for key, (fits, words) in RULES.items():
        if not fits(settings[key]):
            raise UserError(f"{key.upper()} {settings[key]!r}: {words}")
    if not settings["epochs"] and not settings["head"]:
        raise UserError("EPOCHS 0 leaves a network without a trained head untrained: give it some")
    return settings


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fit(
    model: keras.Model,
    train: Arrays,
    validation: Arrays,
    run: Path,
    settings: dict,
    masks: np.ndarray | None = None,
) -> pd.DataFrame:
    """Train a model and leave it with the weights of its `best_epoch`.

    An interrupted run with the same settings and images goes on where it was; others start anew.

    Parameters
    ----------
    model
        Uncompiled; uint8 or float images (n, size, size, 1) in [0, 255] to class probabilities.
    train, validation
        Images and class numbers; validation chooses the epoch.
    run
        Folder that receives `history.csv`, `tensorboard/` and, until the end, `training/`.
    settings
        `epochs`, `batch_size`, `learning_rate` (the peak: warm-up, then cosine to zero),
        `weight_decay`, `patience` (epochs), `seed`, `head` (whether the weights at the start are
        trained already: they are then epoch 0, and may be the best), `corruption` (strength, as
        `corruptions.spoil` takes it; validation then has a corrupted copy of each image too),
        `boxes` (weight, as `guidance.Guided` takes it), and whatever else must not differ on
        resuming.
    masks
        Boxes of the training images, as `guidance.masks` draws them; needed if `boxes` is not 0.

    Returns
    -------
    One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds.
    """
    state = run / "training"
    _forget_other(state, settings | {"images": _digest(train, validation)})
    steps = -(-len(train[0]) // settings["batch_size"])
    trainer = guidance.Guided(model, settings["boxes"]) if settings["boxes"] else model
    trainer.compile(
        optimizer=_optimizer(settings, steps),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    record = Record(model, run / "history.csv", state, settings["epochs"], settings["patience"])
    tensorboard = keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False)
    backup = keras.callbacks.BackupAndRestore(state / BACKUP, double_checkpoint=True)
    judges = batches.judging(validation, settings)
    if settings["head"]:
        record.judge_start(trainer, judges)
    rows = ((train[0], masks), train[1]) if settings["boxes"] else train
    trainer.fit(
        batches.shuffled(rows, settings),
        validation_data=judges,
        epochs=settings["epochs"],
        callbacks=[record, tensorboard, backup],
        shuffle=False,  # the data set shuffles
        verbose=0,
    )
    history = pd.DataFrame(record.rows)
    model.load_weights(record.weights_of(best_epoch(history, settings["epochs"])))
    return history


def set_seeds(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow, for weights, dropout and order."""
    keras.utils.set_random_seed(seed)


def save(model: keras.Model, card: dict, run: Path) -> None:
    """Write `model.keras` (without optimizer state) and `model.json`; training is then over.

    What the run's model before had, limits and files for LiteRT, is removed.
    """
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    with paths.replacing(run / KERAS) as beside:
        bare.save(beside)
    facts = {"parameters": model.count_params(), "versions": versions()}
    (run / drift.FILE).unlink(missing_ok=True)
    for file, _ in BACKENDS.values():
        trust.forget((run / file).parent)
        if file != KERAS:
            (run / file).unlink(missing_ok=True)
    paths.write_json(card | facts, run / "model.json")
    shutil.rmtree(run / "training", ignore_errors=True)


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        "tensorflow": tf.__version__,
    }


def _forget_other(state: Path, settings: dict) -> None:
    """Remove what is left of a run that had other settings, or that cannot be resumed."""
    file = state / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True)
    same = file.exists() and file.read_text(encoding="utf-8") == text
    if not (same and any((state / BACKUP).glob("*"))):
        shutil.rmtree(state, ignore_errors=True)
        shutil.rmtree(state.parent / "tensorboard", ignore_errors=True)
        (state.parent / "history.csv").unlink(missing_ok=True)
        state.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")


def _digest(*parts: Arrays) -> str:
    """Return what stands for the images and their class numbers."""
    digest = hashlib.sha256()
    for squares, numbers in parts:
        digest.update(squares.tobytes())
        digest.update(numbers.tobytes())
    return digest.hexdigest()


def _optimizer(settings: dict, steps: int) -> keras.optimizers.Optimizer:
    warm_up = 2 * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings["learning_rate"] / 10,
        decay_steps=max(settings["epochs"] * steps - warm_up, 1),
        warmup_target=settings["learning_rate"],
        warmup_steps=warm_up,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=settings["weight_decay"])
