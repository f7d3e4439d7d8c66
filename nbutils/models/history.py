"""The history of a training: a row an epoch, the best weights, and when to stop."""

import time
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import disk, runs
from nbutils.models.resuming import (
    BACKUP,
    BEST,
    EpochDraws,
    discard_before,
    load_weights,
    save_weights,
    seed_layers,
    set_aside,
    whole_epochs,
)
from nbutils.runtime import keras, tf

Arrays = tuple[np.ndarray, np.ndarray]  # images uint8 (n, size, size, 1), class numbers int (n,)
COLUMNS = {"epoch", "loss", "val_loss", "val_accuracy", "val_clean_accuracy"}  # of a history


class HistoryCheckpoint(keras.callbacks.Callback):
    """Keep the history, the best weights and a backup, print a line an epoch, and stop early.

    Keras' own callbacks forget their best value when a run is resumed, and cannot tell a backup
    that is damaged; these take up the newest one that is whole (`resume`).

    Parameters
    ----------
    network
        Whose best weights are kept.
    clean
        Validation images without their corrupted copies, if there are such.
    state
        Folder of all that is kept until the training is over.
    settings
        Of the training, as `training.recipe` returns them.
    draws
        Told the number of each epoch.
    """

    def __init__(
        self,
        network: keras.Model,
        clean: Arrays | None,
        state: Path,
        settings: dict,
        draws: EpochDraws,
    ):
        super().__init__()
        self.network, self.clean, self.state, self.draws = network, clean, state, draws
        self.settings, self.epochs = settings, settings["epochs"]
        self.rows: list[dict] = []
        self.start = 0.0

    def resume(self, trainer: keras.Model) -> int:
        """Take up the newest backup that is whole, if any; return how many epochs it has seen."""
        trainer.optimizer.build(trainer.trainable_variables)
        rows, best = self._read_history(), set(whole_epochs(self.state, BEST))
        for epoch in whole_epochs(self.state, BACKUP):
            seen = [row for row in rows if row["epoch"] <= epoch]
            is_complete = bool(seen) and seen[-1]["epoch"] == epoch
            needed = {row["epoch"] for row in seen if not row["epoch"]}  # the trained start
            if is_complete and best >= needed | {best_epoch(pd.DataFrame(seen), self.epochs)}:
                load_weights(trainer, self.state, BACKUP, epoch)
                self.rows = seen
                return epoch
        if rows:
            print("no backup can be resumed: training starts anew", flush=True)
        return 0

    def is_over(self) -> bool:
        """Tell whether the last epoch is trained, or none has been better for long enough."""
        if not self.rows:
            return not self.epochs
        last = self.rows[-1]["epoch"]
        return last >= self.epochs or last - self._lowest() >= self.settings["patience"]

    def load_best(self) -> pd.DataFrame:
        """Give the network the weights of the best epoch, and return the history."""
        history = pd.DataFrame(self.rows)
        if history["val_loss"].isna().all():
            raise disk.UserError("the loss is not a number: lower LEARNING_RATE")
        load_weights(self.network, self.state, BEST, best_epoch(history, self.epochs))
        return history

    def evaluate_initial(self, trainer: keras.Model, validation: tf.data.Dataset) -> None:
        """Enter the weights that training starts from as epoch 0, unless it was done before."""
        self.set_model(trainer)
        if not self.rows:
            self.start = time.perf_counter()
            loss, accuracy = trainer.evaluate(validation, verbose=0)
            self._enter(0, {"val_loss": loss, "val_accuracy": accuracy})
            self.start = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Draw order, augmentation and dropout by the number of the epoch."""
        if epoch and not self.start:
            print(f"resumed after epoch {epoch}", flush=True)
        self.draws.epoch = epoch
        seed_layers(self.model, self.settings["seed"], epoch)
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Enter the epoch, back up what trains, and maybe stop."""
        self._enter(epoch + 1, logs or {})
        save_weights(self.model, self.state, BACKUP, epoch + 1)
        discard_before(self.state, BACKUP, epoch)
        if epoch + 1 - self._lowest() >= self.settings["patience"]:
            print(f"stopped: no better for {self.settings['patience']} epochs", flush=True)
            self.model.stop_training = True

    def _lowest(self) -> int:
        """Return the epoch with the lowest validation loss so far."""
        losses = [np.nan_to_num(row["val_loss"], nan=np.inf) for row in self.rows]
        return self.rows[int(np.argmin(losses))]["epoch"]

    def _read_history(self) -> list[dict]:
        """Return the rows of the history; none, with the file set aside, if it is damaged."""
        file = self.state / runs.HISTORY
        if not file.exists():
            return []
        try:
            text = pd.read_csv(file, dtype=str, na_values="").drop(
                columns="notice", errors="ignore"
            )
            table = text.astype(float).astype({"epoch": int})  # of text: exact to the last digit
        except (ValueError, KeyError):
            table = pd.DataFrame()
        if set(table) >= COLUMNS and (table["epoch"].diff()[1:] == 1).all():
            return table.to_dict("records")
        set_aside(file)
        return []

    def _enter(self, epoch: int, logs: dict) -> None:
        """Write an epoch into the history, and its weights if they are the best."""
        row = {"epoch": epoch, "loss": np.nan, "accuracy": np.nan, **logs}
        row["val_clean_accuracy"] = self._clean_accuracy(logs["val_accuracy"])
        row["learning_rate"] = float(self.model.optimizer.learning_rate) if epoch else 0.0
        row["seconds"] = time.perf_counter() - self.start
        self.rows.append(row)
        is_best = best_epoch(pd.DataFrame(self.rows), self.epochs) == epoch
        if is_best:
            save_weights(self.network, self.state, BEST, epoch)
        runs.write_csv(pd.DataFrame(self.rows), self.state / runs.HISTORY)
        print(_epoch_line(row, self.epochs, is_best), flush=True)

    def _clean_accuracy(self, accuracy: float) -> float:
        """Return the accuracy on validation images without their corrupted copies, if any."""
        if self.clean is None:
            return accuracy
        images, y = self.clean
        return float((self.model.predict(images, verbose=0).argmax(axis=1) == y).mean())


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
    losses = eligible["val_loss"].fillna(np.inf).to_numpy()  # one that is not a number is none
    return int(eligible["epoch"].to_numpy()[losses.argmin()])


def _epoch_line(row: dict, epochs: int, is_best: bool) -> str:
    trained = f"loss {row['loss']:.3f}  accuracy {row['accuracy']:.3f}"
    return (
        f"epoch {row['epoch']:3d}/{epochs}  "
        f"{'the trained start' if np.isnan(row['loss']) else trained:27}"
        f"  val_loss {row['val_loss']:.3f}  val_accuracy {row['val_accuracy']:.3f}"
        f"  {row['seconds']:.1f} s{'  best' if is_best else ''}"
    )
