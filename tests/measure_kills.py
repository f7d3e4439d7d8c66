"""Kill the pipeline at random moments, run it again to its end, and compare all its tables.

    python tests/measure_kills.py --kills 30

Each round runs `steel run` on SYNTHETIC images in a fresh place, sends SIGKILL to it and all that
it started at a random moment of the time that a whole run takes, runs it again, and holds the
tables against those of a run that was not killed. Prints a line a round, and what differs.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import runs
from nbutils.data import synthetic

TABLES = (runs.SPLIT, runs.HISTORY, runs.PREDICTIONS, runs.ERRORS)
OF_TIME = ["seconds"]  # columns that differ from run to run


def start(home: Path, data: Path, options: list[str]) -> subprocess.Popen:
    code = "from nbutils import cli; cli.main()"
    command = [sys.executable, "-c", code, "run", "--run", "killed", "--data", str(data), *options]
    environment = os.environ | {"STEEL_HOME": str(home)}
    return subprocess.Popen(
        command, env=environment, start_new_session=True, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> str:
    """Wait for a run; return what it complained of, empty if it went well."""
    _, errors = process.communicate()
    return errors.strip()[-300:] if process.returncode else ""


def results(home: Path) -> dict[str, object]:
    """Return what a run has written: tables, numbers and arrays, without times."""
    folder = home / "outputs" / "killed"
    found: dict[str, object] = {}
    for file in sorted(folder.rglob("*.csv")):
        if file.name in TABLES:
            found[file.name] = pd.read_csv(file).drop(columns=OF_TIME, errors="ignore")
    for file in sorted(folder.rglob("*.json")):
        if file.name in (runs.REVIEW, runs.METRICS):
            content = json.loads(file.read_text())
            content.pop("training_seconds", None)
            found[file.name] = content
    for file in sorted(folder.rglob("*.npz")):
        with np.load(file) as arrays:
            found[file.name] = {name: arrays[name].tolist() for name in arrays}
    return found


def differences(one: dict, other: dict) -> list[str]:
    """Return the names of results that are not the same to the last digit."""
    names = sorted(one.keys() | other.keys())
    return [name for name in names if not _equal(one.get(name), other.get(name))]


def _equal(one: object, other: object) -> bool:
    if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
        return one.equals(other)
    return type(one) is type(other) and one == other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--per-class", type=int, default=12)
    parser.add_argument("--only", default="01,02,03")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    options = ["--quick", "--only", given.only, "-p", "MODEL", "custom_cnn"]
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as place:
        data = synthetic.write_dataset(Path(place, "SYNTHETIC"), per_class=given.per_class)
        began = time.monotonic()
        if problem := finish(start(Path(place, "whole"), data, options)):
            sys.exit(problem)
        whole, seconds = results(Path(place, "whole")), time.monotonic() - began
        print(f"a whole run: {seconds:.0f} s, {', '.join(whole)}", flush=True)
        for number in range(1, given.kills + 1):
            home, moment = Path(place, str(number)), rng.uniform(0, seconds)
            process = start(home, data, options)
            time.sleep(moment)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            problem = finish(start(home, data, options))
            wrong = differences(whole, results(home))
            print(
                f"kill {number:2d} after {moment:5.1f} s: {problem or wrong or 'equal'}", flush=True
            )


if __name__ == "__main__":
    main()
