"""Measure the shipped map on strips: classes of their tiles, seconds, and memory.

    python tests/measure_strips.py RUN

RUN is the folder of a run whose test images have the model's classes, such as outputs/NEU-DET. Its
test images are put side by side, 8 x 4 in a strip, and the class of a tile is that of its surest
cells; then the strips lose half a tile at each side, so that no window is aligned with a tile. What
is left of an outer tile need not show a defect: those that show one, or a part of it, are counted
by themselves too. The long strips repeat all of them, to 20 and to 200 million pixels; `steel
predict` takes them.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import serving
from PIL import Image

from nbutils import load_predictor
from nbutils.data import datasets, splits
from nbutils.evaluation.metrics import wilson
from nbutils.inference.predictor import Predictor
from nbutils.models.defect_head import TOP_SHARE

ROWS, COLUMNS = 4, 8
MEASURE = (  # in a small process of its own: a fork begins with the memory of its parent
    "import resource, subprocess, sys; "
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)
LONG_ROWS = 20  # tiles, of the long strips
LENGTHS = (5_000, 50_000)  # pixels


def main(run: Path) -> None:
    split = splits.read_split(run)
    test = split[split["part"] == "test"].sample(frac=1, random_state=0)
    images = datasets.read_originals(test)
    side = len(images[0])
    for cut in (0, side // 2):
        tiles = score_tiles(load_predictor(), images, test, cut)
        report(f"cut by {cut} pixels, of all tiles", tiles)
        report(f"cut by {cut} pixels, of those with a defect", tiles[tiles["shows"]])
        report(f"cut by {cut} pixels, of whole ones", tiles[tiles["whole"]])
    width = len(images) // LONG_ROWS * LONG_ROWS
    long = np.block([images[at:width:LONG_ROWS] for at in range(LONG_ROWS)])
    with tempfile.TemporaryDirectory() as folder:
        for length in LENGTHS:
            strip = np.tile(long, -(-length // long.shape[1]))[:, :length]
            file = Path(folder) / f"{length}.tif"
            Image.fromarray(strip).save(file)
            predict(file, strip.size)


def report(what: str, tiles: pd.DataFrame) -> None:
    """Print the share of tiles whose class is right."""
    right, count = tiles["right"].sum(), len(tiles)
    low, high = wilson(right, count)
    print(f"{what}: {right} of {count} are right, {right / count:.1%} ({low:.1%} to {high:.1%})")


def score_tiles(
    predictor: Predictor, images: list[np.ndarray], rows: pd.DataFrame, cut: int
) -> pd.DataFrame:
    """Tell of each tile whether its class is right, if it shows a defect of it, and is whole."""
    rows_of = []
    count = ROWS * COLUMNS
    side = len(images[0])
    strip_box = (cut, cut, COLUMNS * side - cut, ROWS * side - cut)
    for first in range(0, len(images) - count + 1, count):
        tiles = images[first : first + count]
        strip = np.block([tiles[at : at + COLUMNS] for at in range(0, count, COLUMNS)])
        strip = strip[cut : len(strip) - cut, cut : strip.shape[1] - cut]
        prediction = predictor.predict_image(np.ascontiguousarray(strip))
        down, across = np.divide(prediction.defect_map.shape[:2], strip.shape)
        chosen = rows.iloc[first : first + count]
        for number, (label, boxes) in enumerate(zip(chosen["label"], chosen["boxes"], strict=True)):
            row, column = divmod(number, COLUMNS)
            of_tile = (
                slice(*edges(row, side, cut, down)),
                slice(*edges(column, side, cut, across)),
            )
            cells = prediction.defect_map[of_tile].reshape(-1, len(predictor.classes))
            surest = np.sort(cells, axis=0)[-max(int(TOP_SHARE * len(cells)), 1) :]
            found = predictor.classes[surest.mean(axis=0).argmax()]
            corner = np.array([column * side, row * side] * 2)
            own = [corner + box for name, *box in boxes if name == label]
            shows = any(is_visible(box, strip_box) for box in own)
            is_outer = row in (0, ROWS - 1) or column in (0, COLUMNS - 1)
            rows_of.append((found == label, shows, not (cut and is_outer)))
    return pd.DataFrame(rows_of, columns=["right", "shows", "whole"])


def is_visible(box: np.ndarray, strip_box: tuple[int, ...]) -> bool:
    """Tell whether a box, (xmin, ymin, xmax, ymax), lies at least partly in that of the strip."""
    return bool((np.maximum(box[:2], strip_box[:2]) < np.minimum(box[2:], strip_box[2:])).all())


def edges(number: int, side: int, cut: int, scale: float) -> tuple[int, int]:
    """Return the first cell of a tile that is whole, and the one after its last."""
    first, last = number * side - cut, (number + 1) * side - cut
    return int(np.ceil(max(first, 0) * scale)), int(last * scale)


def predict(file: Path, pixels: int) -> None:
    """Predict a strip as a user would, and print what it took, start included."""
    start = time.perf_counter()
    command = [sys.executable, "-c", MEASURE, *serving.STEEL, "predict", str(file)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, most = time.perf_counter() - start, int(found.stdout) / 1024
    print(f"{pixels / 1e6:.0f} million pixels: {seconds:.1f} s, {most:.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
