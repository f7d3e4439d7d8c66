"""Time `steel inspect` on SYNTHETIC images, few and many, by one and two workers.

python tests/measure_inspection.py [MODEL]

Writes `cost.csv` to `outputs/reference/inspection`.
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
from nbutils.data import synthetic
from nbutils.inference.predictor import DEFAULT_MODEL

DRAWN = 1_000
FEW, MANY = 1_000, 50_000  # images; the many are links to those that are drawn
PAUSE = 0.5  # seconds between two looks at the memory


def linked(drawn: list[Path], count: int, folder: Path) -> Path:
    """Fill a folder with a number of files that are links to drawn images."""
    for number in range(count):
        shift = folder / f"shift_{number // 1000:02d}"
        shift.mkdir(parents=True, exist_ok=True)
        os.link(drawn[number % len(drawn)], shift / f"SYNTHETIC_{number:05d}.jpg")
    return folder


def inspected(source: Path, home: Path, model: str, workers: int) -> dict:
    """Inspect a folder; return its seconds, those of prediction alone, and peaks of memory (MB)."""
    command = [*serving.STEEL, "inspect", str(source), "--model", model, "--workers", str(workers)]
    start, main_mb, workers_mb = time.perf_counter(), 0.0, 0.0
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
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{command} failed")
    facts = runs.read_json(home / "outputs" / f"inspection_{source.name}" / runs.INSPECTION)
    return {
        "seconds": seconds,
        "prediction_s": facts["seconds"],
        "main_mb": main_mb,
        "workers_mb": workers_mb,
    }


def main(model: str) -> None:
    """Do all of it."""
    model = str(runs.find_model(model))  # the command looks for names elsewhere
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        folder = Path(tmp)
        synthetic.write_dataset(folder / "drawn", per_class=DRAWN // 6 + 1)
        drawn = sorted((folder / "drawn").rglob("*.jpg"))[:DRAWN]
        sources = {count: linked(drawn, count, folder / f"{count}_images") for count in (FEW, MANY)}
        trials = [(count, workers) for count in sources for workers in (1, 2)]
        for count, workers in tqdm(trials, desc="Inspections"):
            facts = {"model": Path(model).name, "data": "SYNTHETIC", "images": count}
            cost = inspected(sources[count], folder / f"home_{count}_{workers}", model, workers)
            rows.append({**facts, "workers": workers, **cost})
    table = pd.DataFrame(rows).round(2)
    file = runs.OUTPUTS / runs.REFERENCE / "inspection" / "cost.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    runs.write_csv(table, file)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:] or [DEFAULT_MODEL])
