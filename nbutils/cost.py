"""What a model costs: its size, and a prediction's time and memory, in a process of its own."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

BATCH = 16  # images at once
ONE_BY_ONE = 20  # predictions of one image that are timed

Predict = Callable[[list[bytes]], object]
Ways = dict[str, Predict]  # ways to ask a model, by name


def measure(load: Callable[..., Ways], arguments: tuple, files: Sequence[Path]) -> dict[str, dict]:
    """Measure a model in a fresh process, from the bytes of images to the answer.

    Parameters
    ----------
    load
        Function at the top of a module that returns the ways to ask, the cheapest first.
    arguments
        Of `load`.
    files
        Images to predict, repeated as needed.

    Returns
    -------
    For each way: cold_s (`load` and a first answer in this way), one_ms and batch_ms (median
    milliseconds an image, one at a time and `BATCH` at once), memory_mb (most that the process held
    by then).
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, load, arguments, [str(file) for file in files]).result()


def networks(name: str, folders: Sequence[str]) -> Ways:
    """Load the models of folders, to be asked one after the other, with one view and with eight."""
    from nbutils.predict import load_predictor

    predictors = [load_predictor(folder) for folder in folders]

    def predict(images: list[bytes], views: int) -> None:
        for predictor in predictors:
            predictor.views = views
            predictor.predict(images)

    return {name: partial(predict, views=1), f"{name} x8": partial(predict, views=8)}


def lbp(name: str, model) -> Ways:
    """Take the fitted classifier of texture histograms, to be asked."""
    from nbutils import texture
    from nbutils.images import to_array

    def predict(images: list[bytes]) -> None:
        model.predict([texture.histograms(to_array(data, texture.SIZE)) for data in images])

    return {name: predict}


def _measure(load: Callable[..., Ways], arguments: tuple, names: list[str]) -> dict[str, dict]:
    files = [Path(name).read_bytes() for name in names]
    start = time.perf_counter()
    ways = load(*arguments)
    loaded = time.perf_counter() - start
    return {name: _times(predict, files, loaded) for name, predict in ways.items()}


def _times(predict: Predict, files: list[bytes], loaded: float) -> dict:
    first = milliseconds(predict, files[:1]) / 1000
    batch = (files * BATCH)[:BATCH]
    one = [milliseconds(predict, [files[at % len(files)]]) for at in range(ONE_BY_ONE)]
    predict(batch)
    many = [milliseconds(predict, batch) / BATCH for _ in range(3)]
    return {
        "cold_s": loaded + first,
        "one_ms": statistics.median(one),
        "batch_ms": statistics.median(many),
        "memory_mb": peak_memory(),
    }


def milliseconds(predict: Predict, images: list[bytes]) -> float:
    """Time one call."""
    start = time.perf_counter()
    predict(images)
    return 1000 * (time.perf_counter() - start)


def peak_memory() -> float:
    """Return the most memory that this process has held, in MB; of its own, not its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if "VmHWM" in line)
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
