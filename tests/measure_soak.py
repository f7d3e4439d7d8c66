"""Inspect many files of all kinds, some broken, and look for lost rows and growing memory.

    python tests/measure_soak.py --images 20000

Files are SYNTHETIC drawings of 1 to 400 pixels a side as JPEG, PNG, BMP and TIFF, of 8 and 16 bits,
gray and coloured; one in twenty is cut, changed, empty, or of another format than its name says.
Prints what `steel inspect` makes of them, the time it takes, and the most memory that it holds in
each tenth of the table and after it. Fails if a file has no row, or a whole one of enough pixels no
prediction.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import serving
from PIL import Image
from tqdm.auto import tqdm

from nbutils import runs
from nbutils.cli import UNREADABLE
from nbutils.data import synthetic
from nbutils.data.images import MIN_SIDE
from nbutils.inference.predictor import DEFAULT_MODEL

KINDS = [  # suffix, bits, whether coloured
    *((suffix, 8, coloured) for suffix in ("jpg", "png", "bmp", "tif") for coloured in (0, 1)),
    ("tif", 16, 0),
    ("png", 16, 0),
]
BROKEN_SHARE = 0.05
LONGEST = 400  # pixels a side
PER_FOLDER = 1000  # files
PAUSE = 0.5  # seconds between two looks at the memory
EARLY, LATE = (2, 3, 4), (8, 9, 10)  # tenths of the table
FLAT = 1.1  # most memory late, over that early


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(len(data))]


def changed(data: bytes, rng: np.random.Generator) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    values[rng.integers(len(values), size=20)] ^= np.uint8(1) << rng.integers(8, dtype=np.uint8)
    return values.tobytes()


def text(data: bytes, rng: np.random.Generator) -> bytes:
    return b"this is no image"


def empty(data: bytes, rng: np.random.Generator) -> bytes:
    return b""


BREAKING = (cut, changed, text, empty)


def write_files(folder: Path, count: int, seed: int) -> dict[str, bool]:
    """Write the files; return whether each is whole and large enough, by its path."""
    rng = np.random.default_rng(seed)
    drawings = [synthetic.draw(label, rng)[0] for label in synthetic.DRAWERS for _ in range(10)]
    whole = {}
    for number in tqdm(range(count), desc="Drawing", unit="file"):
        suffix, bits, coloured = KINDS[rng.integers(len(KINDS))]
        image = Image.fromarray(drawings[rng.integers(len(drawings))])
        sides = rng.integers(1, LONGEST + 1, 2).tolist()
        image = image.resize(sides)
        if bits == 16:
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        file = folder / f"shift_{number // PER_FOLDER:03d}" / f"{number:06d}.{suffix}"
        file.parent.mkdir(parents=True, exist_ok=True)
        (image.convert("RGB") if coloured else image).save(file)
        is_broken = rng.random() < BROKEN_SHARE
        whole[str(file)] = not is_broken and min(sides) >= MIN_SIDE
        if is_broken:
            damage = BREAKING[rng.integers(len(BREAKING))]
            file.write_bytes(damage(file.read_bytes(), rng))
        elif bits == 8 and rng.random() < BROKEN_SHARE / 5:  # readable, whatever its name says
            other = file.with_suffix(".jpg" if suffix != "jpg" else ".png")
            whole[str(file.rename(other))] = whole.pop(str(file))
    return whole


def watched(command: list[str], home: Path, table: Path) -> tuple[int, pd.DataFrame]:
    """Run a command; return how it ended, and size of the table and memory (MB) as it ran."""
    environment = os.environ | {"STEEL_HOME": str(home)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    looks = []
    while process.poll() is None:
        held = {pid: processes.memory(pid) for pid in processes.family(process.pid)}
        size = table.stat().st_size if table.exists() else 0
        main = held.pop(process.pid, 0.0)
        looks.append((size, main, sum(held.values()), len(held)))
        time.sleep(PAUSE)
    return process.returncode, pd.DataFrame(looks, columns=["size", "main", "workers", "processes"])


def by_tenths(looks: pd.DataFrame) -> pd.DataFrame:
    """Return the most memory (MB) before the table, in each tenth of it, and after it."""
    size = looks["size"].max()
    tenth = np.where(looks["size"] == size, 11, np.ceil(10 * looks["size"] / size))
    most = looks.drop(columns="size").groupby(tenth.astype(int)).max()
    return most.rename(index={0: "start", 11: "page"}).rename_axis("tenth").round(0)


def growth(memory: pd.DataFrame) -> list[str]:
    """Compare memory late in the table with that early in it, in a sentence for each column."""
    early, late = (memory[memory.index.isin(tenths)].max() for tenths in (EARLY, LATE))
    return [
        f"{name}: {early[name]:.0f} MB, then {late[name]:.0f} MB: "
        f"{'flat' if late[name] <= FLAT * early[name] else 'GROWING'}"
        for name in ("main", "workers")
    ]


def check(table: Path, whole: dict[str, bool]) -> list[str]:
    """Print what a table holds; return what is wrong with it."""
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    unreadable = rows.loc[rows["error"] != "", ["path", "error"]]
    missing, surplus = whole.keys() - set(rows["path"]), len(rows) - rows["path"].nunique()
    lost = unreadable[unreadable["path"].map(whole).fillna(False).astype(bool)]
    bad = len(whole) - sum(whole.values())
    print(f"{len(rows)} rows of {len(whole)} files, {bad} of them broken or too small")
    print(f"{len(unreadable)} unreadable")
    print(rows.loc[rows["error"] == "", "decision"].value_counts().to_dict())
    problems = {
        f"{len(missing)} without a row: {sorted(missing)[:3]}": missing,
        f"{surplus} rows too many": surplus,
        f"{len(lost)} whole but unreadable: {lost.head(3).to_numpy().tolist()}": len(lost),
    }
    return [sentence for sentence, is_so in problems.items() if is_so]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    options = ["--workers", str(given.workers)] if given.workers else []
    with tempfile.TemporaryDirectory() as place:
        source, home = Path(place, "mixed"), Path(place, "home")
        whole = write_files(source, given.images, given.seed)
        model = str(runs.find_model(given.model))  # the command looks for names elsewhere
        table = home / "outputs" / f"inspection_{source.name}" / runs.INSPECTIONS
        start, used = time.perf_counter(), os.times()
        command = [*serving.STEEL, "inspect", str(source), "--model", model, *options]
        code, looks = watched(command, home, table)
        seconds, now = time.perf_counter() - start, os.times()
        cpu = now.children_user + now.children_system - used.children_user - used.children_system
        print(f"{seconds:.1f} s by the clock, {cpu:.1f} s of processors, load {os.getloadavg()[0]}")
        if code not in (0, UNREADABLE):
            sys.exit(f"steel inspect ended with {code}")
        problems, memory = check(table, whole), by_tenths(looks)
    print(memory.to_string())
    print(*growth(memory), sep="\n")
    sys.exit("; ".join(problems) or 0)


if __name__ == "__main__":
    main()
