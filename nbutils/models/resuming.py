"""What makes a resumed training equal an uninterrupted one: draws by epoch, and whole backups."""

import errno
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from nbutils import disk, runs
from nbutils.runtime import keras, tf

BEST, BACKUP = "best", "backup"  # weights of the network; of all that trains, with the optimizer
SUFFIX = ".npz"
SEEDS = "seed_generator_state"  # of dropout and augmentation, end of a variable's path
SETTINGS = "settings.json"


class EpochDraws:
    """The order of the images and the seeds of their augmentation, drawn by the epoch's number.

    Each iteration over `dataset` is an epoch, one after another from `epoch` on.
    """

    def __init__(self, n_images: int, settings: dict):
        self.n_images, self.epoch = n_images, 0
        self.seed, self.batch_size = settings["seed"], settings["batch_size"]

    def dataset(self) -> tf.data.Dataset:
        """Return batches of image numbers and seeds, int64 (batch,) each."""
        numbers = tf.TensorSpec((None,), tf.int64)
        batches = tf.data.Dataset.from_generator(self._draw, output_signature=(numbers, numbers))
        n_batches = -(-self.n_images // self.batch_size)
        return batches.apply(tf.data.experimental.assert_cardinality(n_batches))

    def _draw(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        self.epoch += 1
        order, seeds = rng.permutation(self.n_images), rng.integers(2**62, size=self.n_images)
        for start in range(0, self.n_images, self.batch_size):
            chosen = slice(start, start + self.batch_size)
            yield order[chosen], seeds[chosen]


def seed_layers(model: keras.Model, seed: int, epoch: int) -> None:
    """Seed dropout and augmentation for an epoch: their states are in no backup."""
    states = [each for each in model.variables if each.path.endswith(SEEDS)]
    drawn = np.random.default_rng((seed, epoch)).integers(2**32, size=(len(states), 2))
    for state, value in zip(states, drawn, strict=True):
        state.assign(value.astype(state.dtype))


def save_weights(model: keras.Model, folder: Path, kind: str, epoch: int) -> None:
    """Write weights into a file whose name ends with the digest of its content.

    No HDF5, which crashes where the disk is full.
    """
    written = folder / f"writing{SUFFIX}"
    with disk.atomic_write(written) as tmp:
        np.savez(tmp, *(np.asarray(each) for each in _variables(model, kind)))
    written.replace(folder / f"{kind}_{epoch}.{_short_digest(written)}{SUFFIX}")


def load_weights(model: keras.Model, folder: Path, kind: str, epoch: int) -> None:
    """Read what `save_weights` wrote; UserError if it is not there, or not what was written."""
    for file in folder.glob(f"{kind}_{epoch}.*{SUFFIX}"):
        if is_whole(file):
            with np.load(file) as arrays:
                for variable, value in zip(_variables(model, kind), arrays.values(), strict=True):
                    variable.assign(value)
            return
    raise disk.UserError(f"{folder} lacks the weights of epoch {epoch}: start again")


def _variables(model: keras.Model, kind: str) -> list:
    return [*model.weights, *(model.optimizer.variables if kind == BACKUP else ())]


def whole_epochs(folder: Path, kind: str) -> list[int]:
    """Return the epochs whose weights are as they were written, the newest first.

    Others are set aside with a sentence.
    """
    epochs = []
    for file in folder.glob(f"{kind}_*{SUFFIX}"):
        if is_whole(file):
            epochs.append(int(file.name.split(".")[0].removeprefix(f"{kind}_")))
        else:
            set_aside(file)
    return sorted(epochs, reverse=True)


def discard_before(folder: Path, kind: str, epoch: int) -> None:
    """Remove the weights of earlier epochs."""
    for file in folder.glob(f"{kind}_*{SUFFIX}"):
        if int(file.name.split(".")[0].removeprefix(f"{kind}_")) < epoch:
            file.unlink()


def is_whole(file: Path) -> bool:
    """Tell whether a file of weights is as it was written."""
    return file.name.endswith(f".{_short_digest(file)}{SUFFIX}")


@contextmanager
def curve_errors(curves: Path) -> Iterator[None]:
    """Turn what TensorFlow raises where it cannot write the curves of TensorBoard into UserError.

    It has errors of its own, and the one of a full disk is that of a full memory.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if str(curves) not in str(error):
            raise
        full = OSError(errno.ENOSPC, str(error))
        raise disk.UserError(disk.describe_error(full, curves)) from error


def begin(state: Path, settings: dict) -> None:
    """Make the folder of a training's state; one of other settings goes, a damaged one aside."""
    file = state / SETTINGS
    text = json.dumps(settings, indent=2, sort_keys=True)
    if state.exists():
        try:
            if runs.read_json(file) != json.loads(text):
                shutil.rmtree(state)
        except disk.UserError:
            set_aside(state)
    if not state.exists():
        shutil.rmtree(state.parent / "tensorboard", ignore_errors=True)
        with disk.atomic_write(file) as tmp:
            tmp.write_text(text, encoding="utf-8")


def set_aside(damaged: Path) -> None:
    """Rename what cannot be resumed, in place of what was set aside before, and say so."""
    aside = damaged.with_name(f"damaged_{damaged.name}")
    shutil.rmtree(aside, ignore_errors=True)
    damaged.rename(aside)
    print(f"{damaged} cannot be resumed: it is set aside as {aside.name}", flush=True)


def _short_digest(file: Path) -> str:
    return disk.digest(file)[:16]
