"""Measure `steel inspect` with its page: time, processor time and memory, by number of images.

python tests/measure_inspection.py [MODEL] [SOURCE] [COUNTS]

Images are those of a folder, each as often as it takes, else SYNTHETIC ones. Writes `cost.csv` to
`outputs/reference/inspection`. A machine that others use takes longer: the seconds of its
processors then say more than those of the clock.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import processes
import serving
from tqdm.auto import tqdm

from nbutils import runs
from nbutils.data import image_list, synthetic
from nbutils.inference.predictor import DEFAULT_MODEL

DRAWN = 1_000
COUNTS = (1_000, 50_000)  # images; links to those that are drawn or given
WORKERS = (1, 2)
PAUSE = 0.2  # seconds between two looks at the memory


def linked(files: list[Path], count: int, folder: Path) -> Path:
    """Fill a folder with a number of files that are links to others."""
    for number in range(count):
        file = files[number % len(files)]
        shift = folder / f"shift_{number // 1000:02d}"
        shift.mkdir(parents=True, exist_ok=True)
        (shift / f"{number:05d}_{file.name}").symlink_to(file)
    return folder


def inspected(source: Path, home: Path, model: str, workers: int) -> dict:
    """Inspect a folder; return seconds by clock and by processors, and peaks of memory (MB)."""
    command = [*serving.STEEL, "inspect", str(source), "--model", model, "--workers", str(workers)]
    start, main_mb, workers_mb = time.perf_counter(), 0.0, 0.0
    used = os.times()
    process = subprocess.Popen(
        command,
        env=os.environ | {"STEEL_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        held = {pid: processes.memory(pid) for pid in processes.family(process.pid)}
        main_mb = max(main_mb, held.pop(process.pid, 0.0))
        workers_mb = max(workers_mb, sum(held.values()))
        time.sleep(PAUSE)
    seconds, now = time.perf_counter() - start, os.times()
    if process.returncode:
        raise RuntimeError(f"{command} failed")
    folder = home / "outputs" / f"inspection_{source.name}"
    facts = runs.read_json(folder / runs.INSPECTION)
    user, system = (
        now.children_user - used.children_user,
        now.children_system - used.children_system,
    )
    return {
        "seconds": seconds,
        "processor_s": user + system,
        "prediction_s": facts["seconds"],
        "main_mb": main_mb,
        "workers_mb": workers_mb,
        "page_mb": (folder / "inspection.html").stat().st_size / 1e6,
    }


def main(model: str = DEFAULT_MODEL, source: str = "", counts: str = "") -> None:
    """Do all of it."""
    model = str(runs.find_model(model))  # the command looks for names elsewhere
    numbers = [int(count) for count in runs.parse_list(counts)] or COUNTS
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        if not source:
            synthetic.write_dataset(folder / "drawn", per_class=DRAWN // 6 + 1)
        files = [Path(path) for path in image_list.list_images([source or str(folder / "drawn")])]
        trials = [(count, workers) for count in numbers for workers in WORKERS]
        for count, workers in tqdm(trials, desc="Inspections"):
            place = folder / f"{count}_images"
            images = place if place.exists() else linked(files, count, place)
            facts = {"model": Path(model).name, "data": Path(source).name or "SYNTHETIC"}
            cost = inspected(images, folder / f"home_{count}_{workers}", model, workers)
            rows.append({**facts, "images": count, "workers": workers, **cost})
    table = pd.DataFrame(rows).round(2)
    file = runs.OUTPUTS / runs.REFERENCE / "inspection" / "cost.csv"
    runs.write_csv(table, file)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
