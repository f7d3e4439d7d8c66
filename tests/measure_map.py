"""Time an answer with the map of defects against one of the same network without it.

python tests/measure_map.py [MODEL] [ROUNDS]

From the bytes of files to predictions, by LiteRT, one image at a time and in batches, in turn in
one process. The images are SYNTHETIC.
"""

import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from nbutils.data import synthetic
from nbutils.inference import export
from nbutils.inference.predictor import DEFAULT_MODEL, Predictor, load_predictor
from nbutils.models import defect_head
from nbutils.models.litert import LiteRTNetwork, write_litert

N_SINGLE, BATCH = 30, 64  # images, one by one and at once, in a round


def without_map(predictor: Predictor, keras: Predictor) -> Predictor:
    """Return a predictor of the same network without its head for the cells."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "classifier.tflite"
        write_litert(export.in_one_row(defect_head.classifier(keras.model)), file)
        network = LiteRTNetwork(file)
        list(network.map([np.zeros((2, keras.size, keras.size, 1))] * 8))  # reads the file
    return replace(predictor, network=network.map, decoder=None)


def main() -> None:
    """Print milliseconds an image, the medians of the rounds, and their ratios."""
    model = sys.argv[1] if sys.argv[1:] else DEFAULT_MODEL
    rounds = int(sys.argv[2]) if sys.argv[2:] else 9
    predictor = load_predictor(model, "litert")
    ways = {"without": without_map(predictor, load_predictor(model, "keras")), "with": predictor}
    files = [data for seed in range(BATCH // 6 + 1) for _, data in synthetic.example_files(seed)]
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds + 1):
        for way, each in ways.items():
            start = time.perf_counter()
            for data in files[:N_SINGLE]:
                each.predict([data])
            middle = time.perf_counter()
            each.predict(files[:BATCH])
            end = time.perf_counter()
            taken.setdefault(("one image", way), []).append((middle - start) / N_SINGLE)
            taken.setdefault(("batch", way), []).append((end - middle) / BATCH)
    for kind in ("one image", "batch"):
        medians = [1000 * statistics.median(taken[kind, way][1:]) for way in ways]  # after warm-up
        print(f"{kind}: {medians[0]:.2f} ms without, {medians[1]:.2f} with, ", end="")
        print(f"ratio {medians[1] / medians[0]:.2f}")


if __name__ == "__main__":
    main()
