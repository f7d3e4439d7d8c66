"""Time `python -m nbutils.inspect` on SYNTHETIC images, few and many, by one and two workers.

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
from tqdm.auto import tqdm

from nbutils import inspection, paths, synthetic
from nbutils.predict import DEFAULT_MODEL

DRAWN = 1_000
FEW, MANY = 1_000, 50_000  # images; the many are links to those that are drawn
PATIENCE = 0.5  # seconds between two looks at the memory


def linked(drawn: list[Path], count: int, folder: Path) -> Path:
    """Fill a folder with a number of files that are links to drawn images."""
    for at in range(count):
        place = folder / f"shift_{at // 1000:02d}"
        place.mkdir(parents=True, exist_ok=True)
        os.link(drawn[at % len(drawn)], place / f"SYNTHETIC_{at:05d}.jpg")
    return folder


def inspected(source: Path, run: Path, model: str, workers: int) -> dict:
    """Inspect a folder; return seconds, images a second, and peaks of memory in MB."""
    command = [sys.executable, "-m", "nbutils.inspect", str(source), "--run", str(run)]
    command += ["--model", model, "--workers", str(workers)]
    start, main_mb, others_mb = time.perf_counter(), 0.0, 0.0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        found = {one: processes.memory(one) for one in processes.family(process.pid)}
        main_mb = max(main_mb, found.pop(process.pid, 0.0))
        others_mb = max(others_mb, sum(found.values()))
        time.sleep(PATIENCE)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{command} failed")
    judging = paths.read_json(run / inspection.FACTS, "08_batch_inspection")["seconds"]
    return {"seconds": seconds, "judging_s": judging, "main_mb": main_mb, "workers_mb": others_mb}


def main(model: str) -> None:
    """Do all of it."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        synthetic.stand_in(folder / "drawn", per_class=DRAWN // 6 + 1)
        drawn = sorted((folder / "drawn").rglob("*.jpg"))[:DRAWN]
        sources = {count: linked(drawn, count, folder / f"{count}_images") for count in (FEW, MANY)}
        asked = [(count, workers) for count in sources for workers in (1, 2)]
        for count, workers in tqdm(asked, desc="Inspections"):
            run = folder / f"run_{count}_{workers}"
            found = inspected(sources[count], run, model, workers)
            rows.append(
                {"model": model, "data": "SYNTHETIC", "images": count, "workers": workers, **found}
            )
    table = pd.DataFrame(rows).round(2)
    paths.write_csv(table, paths.OUTPUTS / "reference" / "inspection" / "cost.csv")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:] or [DEFAULT_MODEL])
