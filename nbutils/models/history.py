"""The history of a training: a row an epoch, the best weights, and when to stop."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import runs
from nbutils.runtime import keras, tf

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 (n, size, size, 1), class numbers int (n,)


class HistoryCheckpoint(keras.callbacks.Callback):
    """Keep `history.csv` and the best weights, print a line an epoch, and stop early.

    Keras' own callbacks forget their best value when a run is resumed; this one reads it from
    the history, which is cut to the epochs that the resumed model has seen.
    """

    def __init__(
        self,
        network: keras.Model,
        clean: Arrays | None,
        history: Path,
        weights: Path,
        epochs: int,
        patience: int,
    ):
        super().__init__()
        self.network, self.clean = network, clean
        self.history, self.weights, self.epochs, self.patience = history, weights, epochs, patience
        self.rows = pd.read_csv(history).to_dict("records") if history.exists() else []
        self.start = 0.0

    def evaluate_initial(self, trainer: keras.Model, validation: tf.data.Dataset) -> None:
        """Enter the weights that training starts from as epoch 0, unless it was done before."""
        self.set_model(trainer)
        trainer.optimizer.build(trainer.trainable_variables)
        if not self.rows:
            self.start = time.perf_counter()
            loss, accuracy = trainer.evaluate(validation, verbose=0)
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
        self._enter(epoch + 1, logs or {})
        lowest = min(self.rows, key=lambda row: row["val_loss"])
        if epoch + 1 - lowest["epoch"] >= self.patience:
            print(f"stopped: no better for {self.patience} epochs", flush=True)
            self.model.stop_training = True

    def _enter(self, epoch: int, logs: dict) -> None:
        """Write an epoch into the history, and its weights if they are the best."""
        row = {"epoch": epoch, "loss": np.nan, "accuracy": np.nan, **logs}
        row["val_clean_accuracy"] = self._clean_accuracy(logs["val_accuracy"])
        row["learning_rate"] = float(self.model.optimizer.learning_rate) if epoch else 0.0
        row["seconds"] = time.perf_counter() - self.start
        self.rows.append(row)
        is_best = best_epoch(pd.DataFrame(self.rows), self.epochs) == epoch
        if is_best:
            with runs.atomic_write(self.weights_of(epoch)) as tmp:
                self.network.save_weights(tmp)
        runs.write_csv(pd.DataFrame(self.rows), self.history)
        print(_epoch_line(row, self.epochs, is_best), flush=True)

    def _clean_accuracy(self, accuracy: float) -> float:
        """Return the accuracy on validation images without their corrupted copies, if any."""
        if self.clean is None:
            return accuracy
        images, y = self.clean
        return float((self.network.predict(images, verbose=0).argmax(axis=1) == y).mean())


def best_epoch(history: pd.DataFrame, epochs: int) -> int:
    """Return the epoch with the lowest validation loss among those that count.

    While the learning rate is high, the validation loss jumps, and a low one is luck. So once the
    last fifth of the schedule is reached, only its epochs and a trained start count. An epoch that
    is less accurate than a trained start, on clean or on corrupted images, does not.

    Parameters
    ----------
    history
        Columns epoch (0 for trained weights at the start), val_loss, val_accuracy and
        val_clean_accuracy.
    epochs
        Of the whole schedule.
    """
    late, initial = history["epoch"] > epochs * 4 // 5, history["epoch"] == 0
    eligible = history[late | initial] if late.any() else history
    if initial.any():
        start = history[initial].iloc[0]
        clean = eligible["val_clean_accuracy"]
        corrupted = 2 * eligible["val_accuracy"] - clean  # half of the images are as they are
        start_corrupted = 2 * start["val_accuracy"] - start["val_clean_accuracy"]
        tolerance = 1e-6  # of single precision
        as_good = (clean >= start["val_clean_accuracy"] - tolerance) & (
            corrupted >= start_corrupted - tolerance
        )
        eligible = eligible[as_good]
    return int(eligible["epoch"].to_numpy()[eligible["val_loss"].to_numpy().argmin()])


def _epoch_line(row: dict, epochs: int, is_best: bool) -> str:
    trained = f"loss {row['loss']:.3f}  accuracy {row['accuracy']:.3f}"
    return (
        f"epoch {row['epoch']:3d}/{epochs}  "
        f"{'the trained start' if np.isnan(row['loss']) else trained:27}"
        f"  val_loss {row['val_loss']:.3f}  val_accuracy {row['val_accuracy']:.3f}"
        f"  {row['seconds']:.1f} s{'  best' if is_best else ''}"
    )
