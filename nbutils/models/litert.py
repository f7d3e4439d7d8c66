"""Networks in LiteRT's format, which a small runtime runs several times faster than Keras."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock, local
from typing import TYPE_CHECKING

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from nbutils import disk, runs
from nbutils.artefacts import digested, is_changed
from nbutils.disk import UserError
from nbutils.runtime import suppress_stderr, usable_cores

if TYPE_CHECKING:
    import keras


def write_litert(model: "keras.Model", file: Path) -> None:
    """Write a model of one input and one output as a `.tflite` file in float32.

    The converter is given the traced function: Keras' own export would trace it three times, which
    takes more than twice as long. `LiteRTNetwork` knows damage by the SHA-256 that is kept.
    """
    from nbutils.runtime import tf  # running a file needs no TensorFlow

    [image] = model.inputs
    signature = tf.TensorSpec(image.shape, tf.float32, name="image")
    traced = tf.function(lambda image: model(image, training=False), input_signature=[signature])
    holder = tf.Module()
    holder.weights = [weight.value for weight in model.weights]
    function = traced.get_concrete_function()
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], holder)
        content = converter.convert()
    finally:
        logger.setLevel(level)
    with digested(file), disk.atomic_write(file) as tmp:
        tmp.write_bytes(content)


class LiteRTNetwork:
    """A `.tflite` file of one input and one output, ready to run.

    A lone image has all cores; of several, each core takes some. The interpreters for several are
    made when they are first needed. Threads may share it.

    Raises UserError where the file is damaged: it cannot be loaded, or has another SHA-256 than was
    written for it (`artefacts.digested`).
    """

    def __init__(self, file: Path):
        if not file.is_file():
            raise _unfit(file, "is no file")
        if is_changed(file):
            raise _unfit(file, "is damaged (it is not what was written)")
        self._single = _Interpreter(file, usable_cores())
        self._own = local()  # the interpreter of each thread of the pool
        self._pool = ThreadPoolExecutor(
            usable_cores(), initializer=_prepare, initargs=(self._own, file)
        )
        self.size = self._single.size  # pixels, side of the input
        self.width = self._single.width  # values of the output of an image

    def map(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Run batches side by side, their outputs in order: float32 (batch, channels)."""
        running: deque = deque()
        for batch in batches:
            if len(batch) == 1 and not running:
                yield self._single.run(batch)
                continue
            running.append(self._pool.submit(self._run, batch))
            if len(running) > 2 * usable_cores():
                yield running.popleft().result()
        yield from (future.result() for future in running)

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self._own.interpreter.run(batch)


def _unfit(file: Path, reason: str) -> UserError:
    """Return the error of a file that is no network of a model, with its cure."""
    cure = f"write it again by steel export {runs.model_name(file.parent)}"
    return UserError(f"{file} {reason}: {cure}")


def _prepare(own: local, file: Path) -> None:
    """Give a thread its interpreter; no method, for the thread would keep its network alive."""
    own.interpreter = _Interpreter(file, threads=1)


class _Interpreter:
    """LiteRT's interpreter on some threads, for one caller at a time."""

    def __init__(self, file: Path, threads: int):
        try:
            with suppress_stderr():
                self._interpreter = Interpreter(str(file), num_threads=threads)
                self._interpreter.allocate_tensors()
            inputs = self._interpreter.get_input_details()
            outputs = self._interpreter.get_output_details()
        except (ValueError, RuntimeError) as error:
            raise _unfit(file, f"cannot be loaded ({error})") from error
        shapes = [tuple(each["shape"]) for each in (*inputs, *outputs)]
        is_image = len(shapes) == 2 and len(shapes[0]) == 4 and shapes[0][1] == shapes[0][2]
        if not is_image or shapes[0][3] != 1:
            raise _unfit(file, "is of another network")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.size, self.width = int(shapes[0][1]), int(shapes[1][-1])
        self._lock = Lock()

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run images one after the other: what a layer leaves stays in the processor's cache."""
        with self._lock:
            return np.concatenate([self._run_one(image) for image in batch])

    def _run_one(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, image[np.newaxis].astype(np.float32))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)
