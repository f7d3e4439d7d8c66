"""What a model costs: its size, and a prediction's time and memory, in a process of its own."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

BATCH = 32  # images at once
ONE_BY_ONE = 20  # predictions of one image that are timed

Predict = Callable[[list[bytes]], object]


def measure(load: Callable[..., Predict], arguments: tuple, files: Sequence[Path]) -> dict:
    """Measure a model in a fresh process, from the bytes of images to the answer.

    Parameters
    ----------
    load
        Function at the top of a module that returns the prediction function.
    arguments
        Of `load`.
    files
        Images to predict, repeated as needed.

    Returns
    -------
    cold_s (start of `load` to the first answer), one_ms and batch_ms (median milliseconds an image,
    one at a time and `BATCH` at once), memory_mb (peak resident memory of the process).
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, load, arguments, [str(file) for file in files]).result()


def networks(folders: Sequence[str], views: int) -> Predict:
    """Load the models of folders, to be asked one after the other, with their views averaged."""
    from nbutils.predict import load_predictor

    predictors = [load_predictor(folder) for folder in folders]
    for predictor in predictors:
        predictor.views = views
    return lambda images: [predictor.predict(images) for predictor in predictors]


def lbp(model) -> Predict:
    """Take the fitted classifier of texture histograms, to be asked."""
    from nbutils import texture
    from nbutils.images import to_array

    return lambda images: model.predict(
        [texture.histograms(to_array(data, texture.SIZE)) for data in images]
    )


def _measure(load: Callable[..., Predict], arguments: tuple, names: list[str]) -> dict:
    files = [Path(name).read_bytes() for name in names]
    start = time.perf_counter()
    predict = load(*arguments)
    predict(files[:1])
    cold = time.perf_counter() - start
    batch = (files * BATCH)[:BATCH]
    one = [milliseconds(predict, [files[at % len(files)]]) for at in range(ONE_BY_ONE)]
    predict(batch[:8])
    many = [milliseconds(predict, batch) / BATCH for _ in range(3)]
    return {
        "cold_s": cold,
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
