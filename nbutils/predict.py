"""Classify image files with a saved model.

python -m nbutils.predict FILE... [--model RUN] [--top K] [--csv]
"""

import argparse
import csv
import sys
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from nbutils import paths, trust
from nbutils.images import ImageError
from nbutils.paths import UserError
from nbutils.predictor import Prediction, Predictor

DEFAULT_MODEL = "mobilenet_v2"


def load_predictor(run_or_folder: str | Path | None = None, backend: str = "keras") -> Predictor:
    """Load the model of a run.

    Parameters
    ----------
    run_or_folder
        A folder that holds `model.keras`, `model.json` and what `Trust.save` wrote; or the name of
        a run below `outputs/`, else below `outputs/reference/`; default `DEFAULT_MODEL`.
    backend
        `keras`; or `litert` or `int8`, several times faster, which `python -m nbutils.export`
        writes, and which never import TensorFlow. Only Keras can draw activation maps.

    Raises
    ------
    UserError
        If there is no such model, or it is damaged, or its classes do not fit.
    """
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}")
    name, load = BACKENDS[backend]
    folder = find_model(run_or_folder or DEFAULT_MODEL)
    file = folder / name
    if not file.exists():
        raise UserError(f"{file} is missing: run python -m nbutils.export {folder.name}")
    card = paths.read_json(folder / "model.json", "02_training")
    classes, limits = card.get("classes", []), trust.load(file.parent)
    return load(file, classes, folder.name, card.get("views", 1), limits)


def load_judged(run_or_folder: str | Path, labels: Iterable[str] = ()) -> Predictor:
    """Load a model that is to be measured, on images of these classes if any are named.

    Raises UserError also if it has no limits, or does not know these classes.
    """
    predictor = load_predictor(run_or_folder)
    if not predictor.trust:
        raise UserError(f"{predictor.name} has no limits: run 02_training to its end")
    unknown = sorted(set(labels) - set(predictor.classes))
    if unknown:
        raise UserError(f"{predictor.name} does not know {', '.join(unknown)}: name another model")
    return predictor


def find_model(run_or_folder: str | Path) -> Path:
    """Return the folder of a model: a folder, a run's name, or a reference model's name."""
    asked = Path(run_or_folder)
    places = [asked, paths.OUTPUTS / asked, paths.OUTPUTS / "reference" / asked]
    for place in places:
        if (place / "model.keras").exists():
            return place
    raise UserError(
        f"no model.keras for {str(run_or_folder)!r}: train it by 02_training, "
        f"or name one of those at hand ({', '.join(known_models()) or 'none yet'})"
    )


def fastest(run_or_folder: str | Path | None = None) -> str:
    """Return the fastest backend in float32 that a model has."""
    folder = find_model(run_or_folder or DEFAULT_MODEL)
    return "litert" if (folder / BACKENDS["litert"][0]).exists() else "keras"


def known_models() -> list[str]:
    """Return the names of the runs and reference models at hand."""
    files = [*paths.OUTPUTS.glob("*/model.keras"), *paths.OUTPUTS.glob("reference/*/model.keras")]
    return sorted({file.parent.name for file in files})


def _load_keras(file: Path, classes: Sequence[str], *facts) -> Predictor:
    from nbutils import answering
    from nbutils.backend import keras

    if not zipfile.is_zipfile(file):
        raise UserError(f"{file} is damaged or no Keras model: run 02_training again")
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be loaded ({error}): run 02_training again") from error
    if len(classes) != model.output_shape[-1]:
        raise UserError(
            f"{file} tells {model.output_shape[-1]} classes apart, but model.json beside it names "
            f"{len(classes)}: run 02_training again"
        )
    return answering.predictor(model, classes, *facts)


def _load_litert(
    file: Path, classes: Sequence[str], name: str, views: int, limits: trust.Trust | None
) -> Predictor:
    from nbutils.litert import Network

    network = Network(file)
    if limits and network.width != len(classes) + limits.gaussians.centers.shape[1]:
        raise UserError(
            f"{file} does not fit model.json and the limits beside it: write it again by "
            "python -m nbutils.export"
        )
    return Predictor(network, classes, name, network.size, views, limits)


BACKENDS = {  # name -> file of a run, and what loads it
    "keras": ("model.keras", _load_keras),
    "litert": ("model.tflite", _load_litert),
    "int8": ("int8/model.tflite", _load_litert),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status, 1 if any file could not be judged."""
    parser = argparse.ArgumentParser("python -m nbutils.predict", description="Classify images.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--model", help=f"a run or a folder (default: {DEFAULT_MODEL})")
    parser.add_argument("--backend", choices=BACKENDS, help="default: litert where exported")
    parser.add_argument("--top", type=int, default=3, help="classes to print (default: 3)")
    parser.add_argument("--csv", action="store_true", help="print CSV with all probabilities")
    chosen = parser.parse_args(arguments)
    try:
        predictor = load_predictor(chosen.model, chosen.backend or fastest(chosen.model))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    rows = [(file, *_judge(predictor, file)) for file in chosen.files]
    show = _print_csv if chosen.csv else _print_table
    show(rows, predictor, chosen.top)
    return int(any(error for _, _, error in rows))


def _judge(predictor: Predictor, file: Path) -> tuple[Prediction | None, str]:
    try:
        return predictor.predict([file.read_bytes()], [str(file)])[0], ""
    except (ImageError, OSError) as error:
        return None, str(error)


def _print_table(rows, predictor: Predictor, top: int) -> None:
    width = max(len(str(file)) for file, _, _ in rows)
    for file, prediction, error in rows:
        found = prediction.top(top) if prediction else []
        chances = "  ".join(f"{label} {100 * chance:.1f} %" for label, chance in found)
        verdict = f"{prediction.verdict}  {chances}" if prediction else error
        print(f"{file!s:{width}}  {verdict}")
        for reason in prediction.reasons if prediction else ():
            print(f"{'':{width}}          {reason}")


def _print_csv(rows, predictor: Predictor, top: int) -> None:
    table = csv.writer(sys.stdout)
    facts = ["label", "confidence", "verdict", "novelty", "candidates", "reasons"]
    table.writerow(["path", *facts, *predictor.classes, "error"])
    for file, prediction, error in rows:
        if prediction:
            table.writerow([
                file, prediction.label, prediction.confidence, prediction.verdict,
                prediction.novelty, ";".join(prediction.candidates), ";".join(prediction.reasons),
                *prediction.probabilities.values(), "",
            ])  # fmt: skip
        else:
            table.writerow([file, *[""] * (len(facts) + len(predictor.classes)), error])


if __name__ == "__main__":
    sys.exit(main())
