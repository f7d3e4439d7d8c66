"""Networks in LiteRT's format, run by a small runtime several times faster than by Keras."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from nbutils.paths import UserError
from nbutils.quiet import quietly


def cores() -> int:
    """Return how many cores this process may use; OMP_NUM_THREADS can lower it."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return min(here, int(wish)) if wish.isdigit() and int(wish) else here


class Network:
    """A `.tflite` file of one input and one output, ready to run.

    A lone image has all cores; of several, each core takes some. The interpreters for several are
    made when they are first needed. Threads may share it.

    Raises UserError where the file is damaged.
    """

    def __init__(self, file: Path):
        self._file = str(file)
        self._lone = _Runner(self._file, cores())
        self._pool, self._making = None, Lock()
        self.size = self._lone.size  # pixels, side of the input
        self.width = self._lone.width  # numbers that an image is answered with

    def map(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Run batches side by side, their outputs in order: float32 (batch, channels)."""
        running = deque()
        for batch in batches:
            if len(batch) == 1 and not running:
                yield self._lone.run(batch)
                continue
            self._make_pool()
            running.append(self._pool.submit(self._run, batch))
            if len(running) > 2 * cores():
                yield running.popleft().result()
        yield from (future.result() for future in running)

    def _make_pool(self) -> None:
        with self._making:
            if not self._pool:
                self._idle = SimpleQueue()
                for _ in range(cores()):
                    self._idle.put(_Runner(self._file, threads=1))
                self._pool = ThreadPoolExecutor(cores())

    def _run(self, batch: np.ndarray) -> np.ndarray:
        runner = self._idle.get()
        try:
            return runner.run(batch)
        finally:
            self._idle.put(runner)


class _Runner:
    """An interpreter of some threads."""

    def __init__(self, file: str, threads: int):
        try:
            with quietly():
                self._interpreter = Interpreter(file, num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{file} cannot be loaded ({error}): write it again by python -m nbutils.export"
            ) from error
        [asked] = self._interpreter.get_input_details()
        [answered] = self._interpreter.get_output_details()
        self._asked, self._answered = asked["index"], answered["index"]
        self.size, self.width = int(asked["shape"][1]), int(answered["shape"][-1])
        self._running = Lock()

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Run images one after the other: what a layer leaves stays in the processor's cache."""
        with self._running:
            return np.concatenate([self._answer(image) for image in batch])

    def _answer(self, image: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._asked, image[np.newaxis].astype(np.float32))
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._answered)
