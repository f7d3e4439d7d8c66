"""Networks in LiteRT's format, which a processor runs several times faster than Keras."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from nbutils import paths


def export(model, file: Path) -> None:
    """Write a Keras model of one input and one output as a `.tflite` file in float32."""
    import tensorflow as tf

    notes = tf.get_logger()
    level = notes.level
    notes.setLevel("ERROR")
    try:
        with paths.replacing(file) as beside:
            model.export(beside, format="litert", verbose=False)
    finally:
        notes.setLevel(level)


class Network:
    """A `.tflite` file, ready to run: one interpreter for each core."""

    def __init__(self, file: Path):
        from ai_edge_litert.interpreter import Interpreter

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self._pool = ThreadPoolExecutor(cores)
        self._idle = SimpleQueue()
        for _ in range(cores):
            interpreter = Interpreter(str(file), num_threads=1)
            interpreter.allocate_tensors()
            self._idle.put(interpreter)
        self._ahead = 2 * cores

    def map(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Run batches side by side, their outputs in order: float32 (batch, channels)."""
        batches = iter(batches)
        running = [self._pool.submit(self._run, batch) for batch in islice(batches, self._ahead)]
        while running:
            yield running.pop(0).result()
            running += [self._pool.submit(self._run, batch) for batch in islice(batches, 1)]

    def _run(self, batch: np.ndarray) -> np.ndarray:
        interpreter = self._idle.get()
        try:
            place = interpreter.get_input_details()[0]
            if tuple(place["shape"]) != batch.shape:
                interpreter.resize_tensor_input(place["index"], batch.shape)
                interpreter.allocate_tensors()
            interpreter.set_tensor(place["index"], batch.astype(np.float32))
            interpreter.invoke()
            return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        finally:
            self._idle.put(interpreter)
