"""Time a model from the bytes of image files to its answers: the usual way, Keras, and LiteRT.

python -m nbutils.bench [MODEL] [--rounds N]
"""

import argparse
import io
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from nbutils import paths
from nbutils.cost import milliseconds
from nbutils.paths import UserError
from nbutils.predict import BACKENDS, DEFAULT_MODEL, find_model, load_predictor

USUAL = "model.predict"  # what an app does without this package: one image, one call
KINDS = (USUAL, *BACKENDS)
BATCH, ONE_BY_ONE = 128, 30  # images at once, and calls of one image, timed in a round
COLD_STARTS = 5  # of each kind
COLD = """
from pathlib import Path
from nbutils.bench import loaded
from nbutils.cost import peak_memory
loaded({kind!r}, {folder!r})([Path({file!r}).read_bytes()])
print(peak_memory())
"""
Answer = Callable[[list[bytes]], object]


def loaded(kind: str, folder: str) -> Answer:
    """Load a model of a folder; return what answers the bytes of images."""
    if kind != USUAL:
        return load_predictor(folder, kind).predict
    import numpy as np
    from PIL import Image

    from nbutils import layers  # noqa: F401  registers the project's own
    from nbutils.backend import keras

    model = keras.saving.load_model(Path(folder) / BACKENDS["keras"][0])
    side = model.input_shape[1:3]

    def one(data: bytes):
        gray = Image.open(io.BytesIO(data)).convert("L").resize(side)
        return model.predict(np.asarray(gray, np.float32)[np.newaxis, ..., np.newaxis], verbose=0)

    return lambda images: [one(data) for data in images]


def bench(folder: Path, files: Sequence[Path], rounds: int) -> list[dict]:
    """Measure all kinds in turn, on the same files.

    Parameters
    ----------
    folder
        Of a model with the files of `python -m nbutils.export`.
    files
        Images.
    rounds
        In each, every kind answers `ONE_BY_ONE` single images and a batch of `BATCH`.

    Returns
    -------
    One row a kind: kind; one_ms and batch_ms, medians over the rounds of milliseconds an image,
    with one_spread and batch_spread (half the range of the middle half); cold_s, median seconds
    from the start of a fresh process to its first answer; memory_mb, its peak; and one_ratio and
    batch_ratio, how many times faster than `USUAL`.
    """
    names = [str(file) for file in files]
    cold = {kind: [_cold(kind, folder, names[0]) for _ in range(COLD_STARTS)] for kind in KINDS}
    context = multiprocessing.get_context("spawn")
    pools = {kind: ProcessPoolExecutor(1, context, _load, (kind, str(folder))) for kind in KINDS}
    times = {kind: [] for kind in KINDS}
    for at in range(rounds + 1):
        for kind, pool in pools.items():
            found = pool.submit(_round, names).result()
            times[kind] += [found] if at else []  # the first warms up
    for pool in pools.values():
        pool.shutdown()
    rows = [{"kind": kind, **_row(times[kind], cold[kind])} for kind in KINDS]
    for row in rows:
        row["one_ratio"] = rows[0]["one_ms"] / row["one_ms"]
        row["batch_ratio"] = rows[0]["batch_ms"] / row["batch_ms"]
    return rows


def _row(times: list[tuple], cold: list[tuple]) -> dict:
    one, batch = zip(*times, strict=True)
    seconds, memory = zip(*cold, strict=True)
    return {
        "one_ms": statistics.median(one),
        "one_spread": _spread(one),
        "batch_ms": statistics.median(batch),
        "batch_spread": _spread(batch),
        "cold_s": statistics.median(seconds),
        "memory_mb": max(memory),
    }


def _spread(values: Sequence[float]) -> float:
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def _cold(kind: str, folder: Path, file: str) -> tuple[float, float]:
    """Return the seconds and the peak memory (MB) of a fresh process that answers one image."""
    code = COLD.format(kind=kind, folder=str(folder), file=file)
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, float(done.stdout)


def _load(kind: str, folder: str) -> None:
    global _answer
    _answer = loaded(kind, folder)


def _round(names: list[str]) -> tuple[float, float]:
    """Return the milliseconds an image, one at a time (median) and in a batch."""
    files = [Path(name).read_bytes() for name in names]
    one = [milliseconds(_answer, [files[at % len(files)]]) for at in range(ONE_BY_ONE)]
    batch = [files[at % len(files)] for at in range(BATCH)]
    return statistics.median(one), milliseconds(_answer, batch) / BATCH


def _drawn(folder: Path) -> list[Path]:
    """Write SYNTHETIC images as JPEG files."""
    import numpy as np
    from PIL import Image

    from nbutils import synthetic

    files = []
    for at in range(BATCH):
        label = list(synthetic.DRAWERS)[at % len(synthetic.DRAWERS)]
        gray, _ = synthetic.draw(label, np.random.default_rng(at))
        files.append(folder / f"SYNTHETIC_{at}.jpg")
        Image.fromarray(gray).save(files[-1])
    return files


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser("python -m nbutils.bench", description=__doc__)
    parser.add_argument("model", nargs="?", default=DEFAULT_MODEL, help="run or reference model")
    parser.add_argument("--rounds", type=int, default=11, help="of measurements (default: 11)")
    chosen = parser.parse_args(arguments)
    try:
        folder = find_model(chosen.model)
        for kind in BACKENDS:
            load_predictor(folder, kind)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place:
        rows = bench(folder, _drawn(Path(place)), max(chosen.rounds, 2))
    import pandas as pd

    table = pd.DataFrame(rows).assign(images="SYNTHETIC")
    paths.write_csv(table, paths.run_folder(folder.name) / "bench.csv")
    print(table.to_string(index=False, float_format="{:.4g}".format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
