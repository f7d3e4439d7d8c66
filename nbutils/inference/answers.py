"""What `steel predict` prints of an image: a line to read, a row of CSV, or an object of JSON."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import typer

from nbutils.inference.prediction import Prediction, no_formula, row_columns

Row = dict[str, Any]  # as `Prediction.to_row` and `error_row` return it
Printer = Callable[[Row, Prediction | None], None]  # of a row and its prediction


def text_printer(paths: Sequence[str], top: int) -> Printer:
    """Return what prints decision and classes of an image, then its defects and reasons.

    Paths are those of all images, which stand in a column; of the classes, the `top` surest are
    shown. Without a prediction, the row has an error.
    """
    return partial(_print_text, max(map(len, paths), default=0), top)


def csv_printer(classes: Iterable[str]) -> Printer:
    """Return what prints `row_columns` of each image; they are printed at once."""
    table = csv.DictWriter(sys.stdout, row_columns(classes), lineterminator="\n")
    table.writeheader()

    def write(row: Row, prediction: Prediction | None) -> None:
        table.writerow({key: no_formula(value) for key, value in row.items()})

    return write


def print_json(row: Row, prediction: Prediction | None) -> None:
    """Print the row of an image, and its defects, surest first, with boxes in pixels."""
    values = {key: None if value != value else value for key, value in row.items()}  # no NaN
    values["defects"] = [vars(defect) for defect in prediction.defects] if prediction else []
    typer.echo(json.dumps(values))


def count_defects(prediction: Prediction) -> str:
    """Say how many defects an image has, by class; empty for one at most."""
    counts = Counter(defect.label for defect in prediction.defects).most_common()
    total = len(prediction.defects)
    return (
        f"{total} defects: {', '.join(f'{n} {label}' for label, n in counts)}" if total > 1 else ""
    )


def _print_text(width: int, top: int, row: Row, prediction: Prediction | None) -> None:
    path = row["path"].ljust(width)
    if prediction is None:
        typer.echo(f"{path}  error   {row['error']}")
        return
    classes = "  ".join(f"{label} {share:.1%}" for label, share in prediction.top(top))
    typer.echo(f"{path}  {prediction.decision}  {classes}")
    for line in filter(None, (count_defects(prediction), *prediction.reasons)):
        typer.echo(f"{'':{width}}          {line}")
