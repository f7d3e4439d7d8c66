"""Runs and models: their folders, the names of what lies in them, and how files are written.

A run is a data set with its split, in a folder below `outputs/`; a model is a folder in a run.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nbutils.disk import UserError, atomic_write, disk_errors, expand_user, is_folder

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
IN_CHECKOUT = (ROOT / "pyproject.toml").exists()
HOME = Path(os.environ.get("STEEL_HOME") or (ROOT if IN_CHECKOUT else Path.cwd())).expanduser()
DATA = HOME / "data"
OUTPUTS = HOME / "outputs"
PACKAGE = Path(__file__).resolve().parent
NOTEBOOKS = ROOT / "notebooks" if IN_CHECKOUT else PACKAGE / "_notebooks"
SHIPPED = ROOT / "outputs" / "reference" if IN_CHECKOUT else PACKAGE / "_reference"
REFERENCE = "reference"  # name of the run that ships
CORRECTIONS = "corrections"  # folder below OUTPUTS, for the corrected labels of all models
CACHE = "cache"  # folder below OUTPUTS, for what can be computed again
OF_RUN = {"images", "notebooks", "figures", "comparison", "robustness", "open_set", "inspection"}
RESERVED = (REFERENCE, CORRECTIONS, CACHE)  # no names of runs after their data

SYNTHETIC = "SYNTHETIC.txt"  # labels what comes from drawn images

# Artefacts of a run
AUDIT, SPLIT, SUSPECTS = "audit.json", "split.csv", "suspects.csv"
REPORT = "report.html"
REENCODED = "images"  # folder of copies that are all encoded alike
# of a model
KERAS_MODEL, LITERT_MODEL, MODEL_CARD = "model.keras", "model.tflite", "model.json"
DIGESTS = "SHA256SUMS"  # of the files that predict, as `sha256sum --check` reads them
REVIEW, NOVELTY, DRIFT = "review.json", "novelty.npz", "drift.npz"
HISTORY, PREDICTIONS, METRICS = "history.csv", "predictions.csv", "metrics.json"
ERRORS = "errors.csv"
CAM_SCORES, CAM_CLASSES, CAM_METHODS = "cam_scores.csv", "cam_classes.csv", "cam_methods.csv"
DETECTION = "detection.json"
EXPORT, BENCHMARK = "export.csv", "benchmark.csv"
MEASURED = "measured.txt"  # names the models of a run that the tables beside it are of
# of a batch inspection
INSPECTION, INSPECTIONS, IMAGE_LIST = "inspection.json", "inspections.csv", "images.txt"
DEFECTS = "defects.csv"

WRITTEN_BY = {
    **dict.fromkeys((AUDIT, SPLIT, SUSPECTS), "01_data_exploration"),
    **dict.fromkeys((KERAS_MODEL, LITERT_MODEL, MODEL_CARD), "02_training"),
    **dict.fromkeys((REVIEW, NOVELTY, DRIFT, DIGESTS), "02_training"),
    **dict.fromkeys((HISTORY, PREDICTIONS, METRICS), "02_training"),
    ERRORS: "03_error_analysis",
    **dict.fromkeys((CAM_SCORES, CAM_CLASSES, CAM_METHODS, DETECTION), "04_grad_cam"),
    **dict.fromkeys((INSPECTION, INSPECTIONS, IMAGE_LIST, DEFECTS), "09_batch_inspection"),
    EXPORT: "steel export",
    BENCHMARK: "steel bench",
}
STALE_AFTER_TRAINING = (  # describe the weights that were there before; the card finds a model
    MODEL_CARD, METRICS, PREDICTIONS, REVIEW, NOVELTY, DRIFT, LITERT_MODEL, DIGESTS, HISTORY,
    ERRORS, CAM_SCORES, CAM_CLASSES, CAM_METHODS, DETECTION, EXPORT, BENCHMARK,
)  # fmt: skip
STALE_IN_RUN = (  # the same in a folder beside the model's, where 07 to 09 measure it
    "robustness.csv", "calibration.csv", "coverage.csv", "summary.csv", "novelty.csv",
    "leave_one_class_out.csv", "drift_detection.csv", MEASURED,
)  # fmt: skip

MAX_JSON = 2**28  # bytes


def create_run(name: str | Path) -> Path:
    """Return the folder of a run, made if missing: a name below `outputs/`, or a path.

    Raises UserError for a name that would not be a folder of its own there.
    """
    run = Path(name)
    if not run.name or ".." in run.parts:
        raise UserError(f"{str(name)!r} is no name for a run: use one word, such as mill_2")
    folder = OUTPUTS / run
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_run(name: str | Path = "") -> Path:
    """Return the folder of a run that has a split; without a name, of the one split last.

    The run that ships is opened by its name alone, since runs are written into. Raises UserError
    where there is none.
    """
    if name:
        folder = OUTPUTS / name
        require(folder / SPLIT)
        return folder
    splits = [file for file in OUTPUTS.glob(f"*/{SPLIT}") if not ships(file)]
    if not splits:
        raise UserError(f"{OUTPUTS} holds no run: run {WRITTEN_BY[SPLIT]} first")
    return sorted(splits, key=lambda file: file.stat().st_mtime)[-1].parent


def create_model(run: Path, name: str) -> Path:
    """Return the folder of a model in a run, made if missing; UserError for no such name."""
    if Path(name).name != name or name in {"", ".."} | OF_RUN or "\0" in name:
        raise UserError(f"{name!r} is no name for a model: use one word, such as custom_cnn_1")
    folder = run / name
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_model(run: Path, name: str = "") -> Path:
    """Return the folder of a model in a run; without a name, of the one trained last.

    Raises UserError where there is none.
    """
    if name:
        return require(run / name / MODEL_CARD).parent
    cards = sorted(run.glob(f"*/{MODEL_CARD}"), key=lambda file: file.stat().st_mtime)
    if not cards:
        raise UserError(f"{run} holds no model: run {WRITTEN_BY[MODEL_CARD]} for it first")
    return cards[-1].parent


def find_model(model: str | Path, run: Path | None = None) -> Path:
    """Return the folder of a model.

    Parameters
    ----------
    model
        A folder; or `run/model` below `outputs/`; or the name of a run that has one model; or the
        name of a model that ships.
    run
        Looked into first.

    Raises
    ------
    UserError
        If there is no such model, or a run has several.
    """
    places = [expand_user(model), OUTPUTS / model, SHIPPED / model]
    if Path(model).parts[:1] == (REFERENCE,):
        places.append(SHIPPED.joinpath(*Path(model).parts[1:]))
    places = [place for place in ([run / model] if run else []) + places if is_folder(place)]
    if found := next(filter(has_model, places), None):
        return found
    inside = list(dict.fromkeys(one.resolve() for place in places for one in _models_in(place)))
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(f"{model}/{place.name}" for place in inside)
        raise UserError(f"{str(model)!r} holds several models: name one of {names}")
    raise UserError(
        f"no model {str(model)!r}: train it by {WRITTEN_BY[KERAS_MODEL]}, "
        f"or name one of those at hand ({', '.join(list_models())})"
    )


def find_models(names: str, run: Path, labels: Iterable[str]) -> dict[str, Path]:
    """Return the folders of models that can be measured on a run's images, by name without `/`.

    A model that does not know these classes, or has no thresholds, is left out with a sentence.
    Where none of the named ones remains, those of the run are taken.

    Parameters
    ----------
    names
        As `find_model` takes them, comma between.
    run
        Looked into first.
    labels
        Classes of the images.

    Raises
    ------
    UserError
        If no model remains, or one of the named ones does not exist.
    """
    named = {name: find_model(name, run) for name in parse_list(names)}
    models = _that_know(named, set(labels))
    models = {name.strip("/").replace("/", "_"): folder for name, folder in models.items()}
    if not models:
        models = _that_know({folder.name: folder for folder in _models_in(run)}, set(labels))
        print(f"models of the run instead: {', '.join(models) or 'none'}")
    if not models:
        known = first_names(sorted(set(labels)))
        raise UserError(f"no model knows {known}: run 02_training first")
    return models


def first_names(names: Sequence[str]) -> str:
    """Join the first five names of a list for a sentence, and count the others."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def parse_list(text: str) -> list[str]:
    """Return the words of a parameter that holds several, comma between."""
    return [word.strip() for word in text.split(",") if word.strip()]


def has_model(folder: Path) -> bool:
    """Tell whether a folder is that of a trained model."""
    return (folder / KERAS_MODEL).is_file() or (folder / LITERT_MODEL).is_file()


def list_models() -> list[str]:
    """Return the models at hand as `find_model` takes them, those that ship last."""
    shipped = _models_in(SHIPPED)
    of_runs = (model for run in sorted(OUTPUTS.glob("*")) for model in _models_in(run))
    own = [model for model in of_runs if model not in shipped]
    return [model_name(model) for model in [*own, *shipped]]


def ships(path: Path) -> bool:
    """Tell whether a file or folder is part of the run that ships."""
    return path.resolve().is_relative_to(SHIPPED.resolve())


def model_name(folder: Path) -> str:
    """Return what `find_model` finds a model by: `run/model`, else its folder."""
    folder = folder.resolve()
    if folder.parent == SHIPPED.resolve():
        return f"{REFERENCE}/{folder.name}"
    if folder.parent.parent == OUTPUTS.resolve():
        return f"{folder.parent.name}/{folder.name}"
    return str(folder)


def discard_stale(model: Path) -> None:
    """Remove from a run what describes weights of a model that are about to be replaced."""
    stale: dict[Path, tuple[str, ...]] = {model: STALE_AFTER_TRAINING}
    for listed in model.parent.glob(f"*/{MEASURED}"):
        if model.name in listed.read_text(encoding="utf-8", errors="replace").splitlines():
            stale[listed.parent] = STALE_IN_RUN
    for folder, names in stale.items():
        for file in [*(folder / "figures").glob("*.png"), *(folder / name for name in names)]:
            file.unlink(missing_ok=True)


def mark_measured(folder: Path, models: Iterable[Path]) -> None:
    """Note in a folder of a run which models are measured there, for `discard_stale`.

    Models of other runs are not noted: their training leaves this run as it is.
    """
    run = folder.resolve().parent
    names = [model.name for model in models if model.resolve().parent == run]
    with atomic_write(folder / MEASURED) as tmp:
        tmp.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def require(path: Path) -> Path:
    """Return `path`, or raise UserError that names what writes it."""
    if not path.exists():
        raise UserError(f"{path} is missing: run {_writer(path)} for this run first")
    return path


def mark_synthetic(run: Path, reason: str | None) -> None:
    """Label a run as SYNTHETIC with the reason, or take the label away (None).

    Tables, JSON files and figures written into a labelled run carry the label.
    """
    label = run / SYNTHETIC
    if reason is None:
        label.unlink(missing_ok=True)
    else:
        label.write_text(f"SYNTHETIC images: {reason}\n", encoding="utf-8")


def is_synthetic(folder: Path) -> bool:
    """Tell whether a run's folder, or a folder anywhere in it, is labelled as SYNTHETIC."""
    return any((place / SYNTHETIC).exists() for place in (folder, *folder.parents))


def write_json(content: dict, path: Path) -> None:
    """Write a dictionary as indented JSON, with a notice in a SYNTHETIC run."""
    if is_synthetic(path.parent):
        content = {"notice": "SYNTHETIC images: no statement about steel", **content}
    with atomic_write(path) as tmp:
        tmp.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Read a JSON file that holds an object, or raise UserError that names what writes it."""
    cure = f"run {_writer(path)} again"
    if not require(path).is_file() or path.stat().st_size > MAX_JSON:
        raise UserError(f"{path} is no file, or of more than {MAX_JSON >> 20} MB: {cure}")
    with disk_errors(path):
        data = path.read_bytes()
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): {cure}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is no JSON object: {cure}")
    return content


def read_csv(path: Path) -> "pd.DataFrame":
    """Read a table of images: names of classes stay text, also `01` and `NA`."""
    import pandas as pd

    keep_any_name()
    texts = dict.fromkeys(("path", "label", "predicted", "sha256", "part", "boxes"), str)
    return pd.read_csv(
        require(path), dtype=texts, keep_default_na=False, encoding_errors="surrogateescape"
    )


def keep_any_name() -> None:
    """Have pandas keep text as Python does: Arrow refuses names of files that are not in UTF-8."""
    import pandas as pd

    pd.set_option("mode.string_storage", "python")


def write_csv(table: "pd.DataFrame", path: Path) -> None:
    """Write a table as CSV, without its index, with a notice in a SYNTHETIC run."""
    if is_synthetic(path.parent):
        table = table.assign(notice="SYNTHETIC")
    with atomic_write(path) as tmp:
        table.to_csv(tmp, index=False, errors="surrogateescape")


def _that_know(models: dict[str, Path], labels: set[str]) -> dict[str, Path]:
    """Return the models with thresholds that know these classes; print why others are left out."""
    fit = {}
    for name, folder in models.items():
        classes = read_json(folder / MODEL_CARD).get("classes")
        known = classes if isinstance(classes, list) else []
        unknown = [label for label in sorted(labels) if label not in known]
        if unknown:
            print(f"{name} is left out: it does not know {first_names(unknown)}")
        elif not (folder / REVIEW).exists():
            print(f"{name} is left out: it has no thresholds, run {WRITTEN_BY[REVIEW]} to its end")
        else:
            fit[name] = folder
    return fit


def _models_in(run: Path) -> list[Path]:
    """Return the folders of the models of a run."""
    return [folder for folder in sorted(run.glob("*")) if has_model(folder)]


def _writer(path: Path) -> str:
    return WRITTEN_BY.get(path.name, "the notebook that writes it")
