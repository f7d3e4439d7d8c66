"""The record of a training: its history, its best weights, and when it is over."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import paths
from nbutils.backend import keras, tf


class Record(keras.callbacks.Callback):
    """Keep `history.csv` and the best weights, print a line an epoch, and stop early.

    Keras' own callbacks forget their best value when a run is resumed; this one reads it from
    the history, which is cut to the epochs that the resumed model has seen.
    """

    def __init__(
        self, network: keras.Model, history: Path, weights: Path, epochs: int, patience: int
    ):
        super().__init__()
        self.network = network
        self.history, self.weights, self.epochs, self.patience = history, weights, epochs, patience
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

    def weights_of(self, epoch: int) -> Path:
        """Return the file with the weights of an epoch, written if it was the best so far."""
        return self.weights / f"epoch_{epoch}.weights.h5"

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
            with paths.replacing(self.weights_of(epoch)) as beside:
                self.network.save_weights(beside)
        paths.write_csv(pd.DataFrame(self.rows), self.history)
        print(_line(row, self.epochs, is_best), flush=True)


def best_epoch(history: pd.DataFrame, epochs: int) -> int:
    """Return the epoch with the lowest validation loss among those that count.

    While the learning rate is high, the validation loss jumps, and a low one is luck. So once the
    last fifth of the schedule is reached, only its epochs and a trained start count.

    Parameters
    ----------
    history
        Columns epoch (0 for trained weights at the start) and val_loss.
    epochs
        Of the whole schedule.
    """
    late = history["epoch"] > epochs * 4 // 5
    counting = history[late | (history["epoch"] == 0)] if late.any() else history
    return int(counting.loc[counting["val_loss"].idxmin(), "epoch"])


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
