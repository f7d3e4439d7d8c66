"""Latency and memory of models, from the bytes of images to predictions, in fresh processes."""

import io
import multiprocessing
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nbutils import runs
from nbutils.inference.predictor import BACKENDS, find_backend, load_predictor

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "model.predict"  # what an app does without this package: one image, one call
N_SINGLE, BATCH_SIZE = 30, 64  # calls of one image, and images at once, timed in a round
N_ROUNDS = 3
N_COLD_STARTS = 3
COLD_START = """
import pickle, sys
from nbutils.evaluation import latency
latency.load(*pickle.load(sys.stdin.buffer))
"""
Predict = Callable[[list[bytes]], Any]
Loader = Callable[[], Predict]  # can be pickled

_predict: Predict  # of the model that `load` has loaded in this process


def benchmark(model: Path, files: Sequence[str | Path], rounds: int) -> "pd.DataFrame":
    """Measure the backends of an exported model against `BASELINE`; arguments as in `measure`.

    One row each: backend, what `measure` returns, speedup and batch_speedup, how many times faster
    than `BASELINE`. Raises UserError if a backend's file is missing.
    """
    backends = [find_backend(model, backend) for backend in BACKENDS]
    loaders: dict[str, Loader] = {BASELINE: partial(load_baseline, str(model))}
    loaders |= {backend: partial(load_model, str(model), backend) for backend in backends}
    table = measure(loaders, files, rounds)
    for column, speedup in (("latency_ms", "speedup"), ("batch_ms", "batch_speedup")):
        table[speedup] = table[column].iloc[0] / table[column]
    return table.rename_axis("backend").reset_index()


def measure(
    loaders: dict[str, Loader], files: Sequence[str | Path], rounds: int = N_ROUNDS
) -> "pd.DataFrame":
    """Measure models in turn, each in a process of its own.

    Loaders load a model and return its prediction from the bytes of images, which are repeated as
    needed. In each round, every model predicts `N_SINGLE` single images and `BATCH_SIZE` at once.

    Returns
    -------
    Index the names; latency_ms and batch_ms, medians over the rounds of milliseconds an image,
    latency_spread and batch_spread (half the interquartile range); cold_start_s, median seconds
    from the start of a process to its first prediction; memory_mb, the most the process held.
    """
    import pandas as pd

    paths = [str(file) for file in files]
    cold = {name: _cold_start(loader, paths[0]) for name, loader in loaders.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(ProcessPoolExecutor(1, context, load, (loader, paths[0])))
            for name, loader in loaders.items()
        }
        for _ in range(rounds + 1):
            for name, pool in pools.items():
                times[name].append(pool.submit(_round, paths).result())
        memory = {name: pool.submit(peak_memory).result() for name, pool in pools.items()}
    rows = {
        name: _medians(times[name][1:])  # the first warms up
        | {"cold_start_s": cold[name], "memory_mb": memory[name]}
        for name in loaders
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def load_model(model: str, backend: str, tta_views: int | None = None) -> Predict:
    """Load a model's folder; by default it averages as many views as it does for everyone."""
    predictor = load_predictor(model, backend)
    predictor.tta_views = tta_views or predictor.tta_views
    return predictor.predict


def load_baseline(model: str) -> Predict:
    """Load a model's folder as an app would that uses Keras alone."""
    from PIL import Image

    from nbutils.models import layers  # noqa: F401  registers the project's own
    from nbutils.runtime import keras

    network = keras.saving.load_model(Path(model) / runs.KERAS_MODEL)
    size = network.input_shape[1:3]

    def predict_one(data: bytes) -> np.ndarray:
        gray = Image.open(io.BytesIO(data)).convert("L").resize(size)
        image = np.asarray(gray, np.float32)[np.newaxis, ..., np.newaxis]
        return network.predict(image, verbose=0)

    return lambda images: [predict_one(data) for data in images]


def load_lbp(classifier: Any) -> Predict:
    """Take a fitted classifier of texture histograms."""
    from nbutils.data.images import decode, resize
    from nbutils.models import lbp_svm

    def predict(images: list[bytes]) -> np.ndarray:
        arrays = [resize(decode(data, "image"), lbp_svm.SIZE) for data in images]
        return classifier.predict([lbp_svm.histograms(image) for image in arrays])

    return predict


def load(loader: Loader, path: str) -> None:
    """Load a model in this process, for `_round`, and predict an image."""
    global _predict
    _predict = loader()
    _predict([Path(path).read_bytes()])


def peak_memory() -> float:
    """Return the most memory that this process has held, in MB; of its own, not its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if "VmHWM" in line)
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _cold_start(loader: Loader, path: str) -> float:
    """Return the seconds that a fresh process takes to its first prediction."""
    seconds, arguments = [], pickle.dumps((loader, path))
    for _ in range(N_COLD_STARTS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", COLD_START], input=arguments, check=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _round(paths: list[str]) -> tuple[float, float]:
    """Return the milliseconds an image, one at a time (median) and in a batch."""
    files = [Path(path).read_bytes() for path in paths]
    single = [_milliseconds([files[at % len(files)]]) for at in range(N_SINGLE)]
    batch = [files[at % len(files)] for at in range(BATCH_SIZE)]
    return statistics.median(single), _milliseconds(batch) / BATCH_SIZE


def _milliseconds(images: list[bytes]) -> float:
    start = time.perf_counter()
    _predict(images)
    return 1000 * (time.perf_counter() - start)


def _medians(times: list[tuple[float, float]]) -> dict[str, float]:
    low, median, high = np.percentile(times, (25, 50, 75), axis=0)
    spread = (high - low) / 2
    row = {"latency_ms": median[0], "latency_spread": spread[0]}
    return row | {"batch_ms": median[1], "batch_spread": spread[1]}
