"""Train a model so that an interruption costs one epoch at most."""

import json
import platform
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import corruptions, models, paths
from nbutils.backend import keras, tf

COMMON = {"batch_size": 32, "weight_decay": 1e-4, "patience": 15, "head": False, "corruption": 0.0}
RECIPES = {models.CUSTOM: {"epochs": 30, "learning_rate": 2e-3, "views": 8}}  # all others:
FINE_TUNING = {"epochs": 8, "learning_rate": 2e-4, "views": 1}
Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 (n, size, size, 1), classes int (n,)


class Record(keras.callbacks.Callback):
    """Keep `history.csv` and the best weights, print a line an epoch, and stop early.

    Keras' own callbacks forget their best value when a run is resumed; this one reads it from
    the history, which is cut to the epochs that the resumed model has seen.
    """

    def __init__(self, history: Path, best: Path, epochs: int, patience: int):
        super().__init__()
        self.history, self.best, self.epochs, self.patience = history, best, epochs, patience
        self.rows = pd.read_csv(history).to_dict("records") if history.exists() else []
        self.start = 0.0

    def judge_start(self, model: keras.Model, validation: tf.data.Dataset) -> None:
        """Enter the weights that training starts from as epoch 0, unless it was done before."""
        self.set_model(model)
        model.optimizer.build(model.trainable_variables)
        if not self.rows:
            self.start = time.perf_counter()
            loss, accuracy = model.evaluate(validation, verbose=0)
            self._enter(0, {"val_loss": loss, "val_accuracy": accuracy})
            self.start = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Drop what is to be trained again."""
        if epoch and not self.start:
            print(f"resumed after epoch {epoch}", flush=True)
        self.rows = [row for row in self.rows if row["epoch"] <= epoch]
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Enter the epoch, and maybe stop."""
        self._enter(epoch + 1, logs)
        lowest = min(self.rows, key=lambda row: row["val_loss"])
        if epoch + 1 - lowest["epoch"] >= self.patience:
            print(f"stopped: no better for {self.patience} epochs", flush=True)
            self.model.stop_training = True

    def _enter(self, epoch: int, measures: dict) -> None:
        """Write an epoch into the history, and its weights if they are the best."""
        row = {"epoch": epoch, "loss": np.nan, "accuracy": np.nan, **measures}
        row["learning_rate"] = float(self.model.optimizer.learning_rate) if epoch else 0.0
        row["seconds"] = time.perf_counter() - self.start
        self.rows.append(row)
        is_best = best_epoch(pd.DataFrame(self.rows), self.epochs) == epoch
        if is_best:
            with paths.replacing(self.best) as beside:
                self.model.save_weights(beside)
        paths.write_csv(pd.DataFrame(self.rows), self.history)
        print(_line(row, self.epochs, is_best), flush=True)


def best_epoch(history: pd.DataFrame, epochs: int) -> int:
    """Return the epoch with the lowest validation loss among those that count.

    Early epochs count only until later ones are there: while the learning rate is high, the
    validation loss jumps, and a low one is luck. Those that count are the start and the last
    third.

    Parameters
    ----------
    history
        Columns epoch (0 for trained weights at the start) and val_loss.
    epochs
        Of the whole schedule.
    """
    early = history["epoch"].between(1, epochs * 2 // 3)
    ranking = history.assign(early=early).sort_values(["early", "val_loss"], kind="stable")
    return int(ranking["epoch"].iloc[0])


def _line(row: dict, epochs: int, is_best: bool) -> str:
    learned = (
        "the trained start"
        if np.isnan(row["loss"])
        else (f"loss {row['loss']:.3f}  accuracy {row['accuracy']:.3f}")
    )
    return (
        f"epoch {row['epoch']:3d}/{epochs}  {learned:27}"
        f"  val_loss {row['val_loss']:.3f}  val_accuracy {row['val_accuracy']:.3f}"
        f"  {row['seconds']:.1f} s{'  best' if is_best else ''}"
    )


def recipe(name: str, **chosen) -> dict:
    """Return a network's own settings, with those that were chosen and are not None.

    They are what `fit` takes, and views (averaged at prediction).
    """
    own = COMMON | RECIPES.get(name, FINE_TUNING)
    return own | {key: value for key, value in chosen.items() if value is not None}


def fit(
    model: keras.Model,
    train: Arrays,
    validation: Arrays,
    run: Path,
    settings: dict,
) -> pd.DataFrame:
    """Train a model and leave it with the weights of its `best_epoch`.

    An interrupted run with the same settings goes on where it was; other settings start anew.

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
        `corruptions.spoil` takes it; validation then has a corrupted copy of each image too), and
        whatever else must not differ on resuming.

    Returns
    -------
    One row an epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds.
    """
    state = run / "training"
    _forget_other(state, settings)
    steps = -(-len(train[0]) // settings["batch_size"])
    model.compile(
        optimizer=_optimizer(settings, steps),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    best = state / "best.weights.h5"
    record = Record(run / "history.csv", best, settings["epochs"], settings["patience"])
    tensorboard = keras.callbacks.TensorBoard(run / "tensorboard", write_graph=False)
    backup = keras.callbacks.BackupAndRestore(state / "backup", double_checkpoint=True)
    judges = _batches(_judges(validation, settings), settings["batch_size"])
    if settings["head"]:
        record.judge_start(model, judges)
    model.fit(
        _batches(train, settings["batch_size"], settings["seed"], settings["corruption"]),
        validation_data=judges,
        epochs=settings["epochs"],
        callbacks=[record, tensorboard, backup],
        shuffle=False,  # the data set shuffles
        verbose=0,
    )
    model.load_weights(best)
    return pd.DataFrame(record.rows)


def _judges(validation: Arrays, settings: dict) -> Arrays:
    """Return the validation images, and a corrupted copy of each where training corrupts."""
    if not settings["corruption"]:
        return validation
    squares, numbers = validation
    seeds = np.arange(len(squares)) + 1_000_000 * (1 + settings["seed"])
    spoiled = corruptions.spoil(squares, seeds, settings["corruption"])
    return np.concatenate([squares, spoiled]), np.concatenate([numbers, numbers])


def set_seeds(seed: int) -> None:
    """Seed Python, NumPy and TensorFlow, for weights, dropout and order."""
    keras.utils.set_random_seed(seed)


def save(model: keras.Model, card: dict, run: Path) -> None:
    """Write `model.keras` (without optimizer state) and `model.json`; training is then over."""
    bare = keras.Model(model.inputs, model.outputs, name=model.name)
    with paths.replacing(run / "model.keras") as beside:
        bare.save(beside)
    facts = {"parameters": model.count_params(), "versions": versions()}
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
    """Remove the state of an interrupted run that had other settings."""
    file = state / "settings.json"
    text = json.dumps(settings, indent=2, sort_keys=True)
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        shutil.rmtree(state, ignore_errors=True)
        shutil.rmtree(state.parent / "tensorboard", ignore_errors=True)
        (state.parent / "history.csv").unlink(missing_ok=True)
        state.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")


def _optimizer(settings: dict, steps: int) -> keras.optimizers.Optimizer:
    warm_up = 2 * steps
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=settings["learning_rate"] / 10,
        decay_steps=max(settings["epochs"] * steps - warm_up, 1),
        warmup_target=settings["learning_rate"],
        warmup_steps=warm_up,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=settings["weight_decay"])


def _batches(
    arrays: Arrays, batch_size: int, seed: int | None = None, corruption: float = 0.0
) -> tf.data.Dataset:
    """Batch arrays; with a seed, in a new order each epoch, and newly corrupted."""
    rows = tf.data.Dataset.from_tensor_slices(arrays)
    if seed is not None:
        rows = rows.shuffle(len(arrays[0]), seed=seed)
    batches = rows.batch(batch_size)
    if corruption:
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(batch_size)
        batches = tf.data.Dataset.zip(batches, seeds).map(
            lambda rows, seeds: (_spoiled(rows[0], seeds, corruption), rows[1]), tf.data.AUTOTUNE
        )
    return batches.prefetch(tf.data.AUTOTUNE)


def _spoiled(images: tf.Tensor, seeds: tf.Tensor, corruption: float) -> tf.Tensor:
    spoiled = tf.numpy_function(
        lambda squares, each: corruptions.spoil(squares, each[: len(squares)], corruption),
        (images, seeds),
        tf.uint8,
    )
    return tf.ensure_shape(spoiled, images.shape)
