"""Labels that people corrected: written by the demo, added to the training part by 02_training.

All are in `outputs/corrections`: a file for each model, and the images, since an upload is nowhere
else.
"""

import csv
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pandas as pd
from PIL import Image

from nbutils import runs
from nbutils.data.images import decode, pixel_hash, read_file
from nbutils.runs import UserError

COLUMNS = ["path", "sha256", "predicted", "corrected", "time", "model"]


def corrections_file(model: str) -> Path:
    """Return where the corrections of a model are kept.

    `model` is its name, as `runs.model_name` returns it. Of a model outside `outputs`, it is the
    folder, and the file is named by the last part.
    """
    name = Path(model).name if Path(model).is_absolute() else model.replace("/", "_")
    return runs.OUTPUTS / runs.CORRECTIONS / f"{name}.csv"


def write(gray: np.ndarray, predicted: str, corrected: str, model: str) -> Path:
    """Add a correction to a model's file; `read` takes the last one of the same pixels.

    Several processes may do so at once: each adds a line at the end.

    Parameters
    ----------
    gray
        uint8, shape (height, width).
    predicted, corrected
        The class that the model predicted, and the true one.
    model
        Name of the model, as `corrections_file` takes it.

    Returns
    -------
    The file.
    """
    file = corrections_file(model)
    digest = pixel_hash(gray)
    image = file.parent / "images" / f"{digest[:16]}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    with runs.atomic_write(image) as tmp:
        Image.fromarray(gray).save(tmp)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    _append(file, (str(image), digest, predicted, corrected, now, model))
    return file


def read(file: Path) -> pd.DataFrame:
    """Read corrections, the last one of each image; a line that was cut off is left out.

    Raises UserError where the file is missing or not one of corrections.
    """
    if not file.is_file():
        raise UserError(f"{file} is missing: correct a label in 05_upload_demo first")
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    try:  # line by line: a quotation mark that a cut line leaves open ends with it
        columns, *rows = [next(csv.reader([line])) for line in text.splitlines() if line] or [[]]
    except csv.Error as error:
        raise UserError(
            f"{file} cannot be read ({error}): name a file that the demo wrote"
        ) from error
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise UserError(f"{file} lacks {', '.join(missing)}: name a file that the demo wrote")
    whole = [row for row in rows if len(row) == len(columns)]
    table = pd.DataFrame(whole, columns=columns, dtype=str)
    return table.drop_duplicates("sha256", keep="last", ignore_index=True)


def add_to_split(split: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Add corrected images to the training part of a split.

    An image whose pixels are in the training or validation part already takes the corrected label
    there; one of the test part is left as it is, so that the test stays the same.

    Parameters
    ----------
    split
        As `splits.read_split` returns it.
    file
        As `write` writes it. Its labels have to be classes of the split.
    """
    table = read(file)
    unknown = sorted(set(table["corrected"]) - set(split["label"]))
    if unknown:
        raise UserError(f"{file} names {', '.join(unknown)}: no class of this split; correct it")
    labels = table.set_index("sha256")["corrected"]
    relabelled = (split["part"] != "test") & split["sha256"].isin(labels.index)
    split = split.copy()
    split.loc[relabelled, "label"] = split.loc[relabelled, "sha256"].map(labels)
    new = table[~table["sha256"].isin(split["sha256"])]
    columns = (new[name] for name in ("path", "corrected", "sha256"))
    rows = [_split_row(*row) for row in zip(*columns, strict=True)]
    return pd.concat([split, pd.DataFrame(rows, columns=split.columns)], ignore_index=True)


def _append(file: Path, row: Sequence[str]) -> None:
    """Add a line to a file that is made with its header in one step."""
    if not file.exists():
        tmp = file.with_name(f".{uuid4().hex}.csv")
        tmp.write_text(_csv_line(COLUMNS), encoding="utf-8")
        with suppress(FileExistsError):  # of two first writers, one makes the file
            os.link(tmp, file)
        tmp.unlink()
    with file.open("ab+") as lines:
        lines.seek(-1, os.SEEK_END)
        cut = lines.read() != b"\n"  # the line of a writer that was ended
        lines.write(b"\n" * cut + _csv_line(row).encode())


def _csv_line(row: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue()


def _split_row(path: str, label: str, sha256: str) -> dict:
    if not Path(path).exists():
        raise UserError(f"{path} is gone: remove its line from the corrections, or bring it back")
    height, width = decode(read_file(path), path).shape
    facts = {"path": path, "label": label, "number": 0, "width": width, "height": height}
    return facts | {"boxes": [], "sha256": sha256, "part": "train"}
