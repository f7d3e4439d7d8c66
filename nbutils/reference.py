"""Collect finished runs into `outputs/reference`, with a model card, and their table into README.

python -m nbutils.reference
"""

import shutil
import sys
from pathlib import Path

import pandas as pd

from nbutils import model_card, paths
from nbutils.paths import UserError
from nbutils.tables import MODELS

SEEDS = ("custom_cnn", "custom_cnn_1", "custom_cnn_2")  # runs of the custom CNN, a seed each
SHARED = {  # run -> notebook, tables and figures to ship; no figure shows the data set
    "comparison": (
        "06_model_comparison",
        ("comparison.csv", "worth.csv", "neighbours.csv", "costs.csv"),
        ("comparison", "learning_curve", "cost"),
    ),
    "robustness": (
        "07_robustness",
        ("robustness.csv", "robustness_summary.csv", "calibration.csv", "coverage.csv"),
        ("families", *(f"{kind}_{name}" for name in MODELS
                       for kind in ("robustness", "reliability", "coverage", "risk"))),
    ),
    "inspection": ("08_batch_inspection", ("alarms.csv",), ("alarms",)),
    "novelty": (
        "09_novelty",
        ("left_out.csv", "novelty_summary.csv"),
        ("left_out", "novelty"),
    ),
}  # fmt: skip
OF_MODEL = (
    "model.keras", "model.json", "limits.json", "novelty.npz", "drift.npz", "metrics.json",
    "history.csv", "cam_methods.csv", "cam_classes.csv", "model.tflite", "export.csv",
)  # fmt: skip
OF_THE_FIRST = ("int8/model.tflite", "int8/limits.json", "int8/novelty.npz", "bench.csv")
FIGURES = ("history", "confusion_matrix", "by_class", "confidence", "cam_methods", "cam_classes")
BINARY = (".keras", ".tflite", ".npz")
LIMIT = 12 * 2**20  # bytes of all models together


def collect(reference: Path) -> None:
    """Fill the reference folder from the runs in `outputs`.

    Raises
    ------
    UserError
        If a run is missing or of other images, or the models are too large to ship.
    """
    for run in {*MODELS, *SEEDS, *SHARED}:
        _check(paths.OUTPUTS / run)
    for name in MODELS:
        _copy(paths.OUTPUTS / name, reference / name, OF_MODEL, FIGURES, "02_training")
    _copy(paths.OUTPUTS / MODELS[0], reference / MODELS[0], OF_THE_FIRST, (), "nbutils.export")
    for name, (notebook, files, figures) in SHARED.items():
        _copy(paths.OUTPUTS / name, reference / name, files, figures, notebook)
    files = (file for name in MODELS for file in (reference / name).rglob("*"))
    size = sum(file.stat().st_size for file in files if file.suffix in BINARY)
    if size > LIMIT:
        raise UserError(f"the models have {size / 2**20:.1f} MB, over {LIMIT / 2**20:.0f} to ship")
    seeds = [_seed_row(run) for run in SEEDS]
    paths.write_csv(pd.DataFrame(seeds), reference / "custom_cnn" / "seeds.csv")
    _write(reference / "README.md", model_card.card(reference))
    _write(paths.ROOT / "README.md", model_card.with_results(paths.ROOT / "README.md", reference))


def _seed_row(run: str) -> dict:
    results = paths.read_json(paths.OUTPUTS / run / "metrics.json", "02_training")
    test = results["test"]
    return {
        "seed": results["seed"],
        "accuracy": test["accuracy"],
        "errors": test["errors"],
        "training_seconds": results["training_seconds"],
    }


def _check(run: Path) -> None:
    """Refuse a run that the card would describe wrongly."""
    facts = paths.read_json(run / "audit.json", "01_data_exploration")
    if facts["data"]["name"] != "NEU-DET" or facts["split"]["kind"] != "fixed":
        raise UserError(f"{run} is not of NEU-DET's fixed split: nothing of it is shipped")


def _copy(run: Path, to: Path, files: tuple, figures: tuple, made_by: str) -> None:
    for name in (*files, *(f"figures/{figure}.png" for figure in figures)):
        source = paths.require(run / name, made_by)
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to / name)


def _write(file: Path, text: str) -> None:
    with paths.replacing(file) as beside:
        beside.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        collect(paths.OUTPUTS / "reference")
    except UserError as error:
        sys.exit(str(error))
