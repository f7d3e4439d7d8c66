"""Labels that people corrected: written by the demo, added to the training part by 02_training.

All are in `outputs/corrections`: a file for each model, and the images, since an upload is nowhere
else.
"""

import csv
import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from nbutils import disk, runs
from nbutils.data import datasets
from nbutils.data.files import read_bytes
from nbutils.data.images import decode, is_large, pixel_hash, read_file
from nbutils.data.labels import NO_DEFECT, NONE
from nbutils.disk import UserError

COLUMNS = ["path", "sha256", "predicted", "corrected", "time", "model"]
MAX_BYTES = 2**28  # of a file


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
        The class that the model predicted, and the true one; `NONE` or `NO_DEFECT` where there is
        none, and an empty one to take back what was said before.
    model
        Name of the model, as `corrections_file` takes it.

    Returns
    -------
    The file.

    Raises
    ------
    UserError
        If the correction could not be kept: the disk is full, say.
    """
    file = corrections_file(model)
    digest = pixel_hash(gray)
    image = file.parent / "images" / f"{digest[:16]}.png"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        with disk.atomic_write(image) as tmp:
            Image.fromarray(gray).save(tmp)
        with disk.locked_file(file):
            _append(file, (str(image), digest, predicted, corrected, now, model))
    except (OSError, UserError) as error:
        raise UserError(f"the correction was not kept: {error}") from error
    return file


def read(file: Path) -> pd.DataFrame:
    """Read corrections, the last one of each image; damaged lines are left out, and said to be.

    So are those that were taken back.

    Raises UserError where the file is missing or not one of corrections.
    """
    if not file.exists():
        raise UserError(f"{file} is missing: correct a label in 05_upload_demo first")
    runs.keep_any_name()
    columns, *rows = _rows(file) or [[]]
    missing = [column for column in COLUMNS if column not in columns]
    if missing:
        raise UserError(f"{file} lacks {', '.join(missing)}: name a file that the demo wrote")
    whole = [row for row in rows if len(row) == len(columns) and row != columns]
    if len(whole) < len(rows):
        print(f"{file}: {len(rows) - len(whole)} of {len(rows)} lines are damaged and left out")
    table = pd.DataFrame(whole, columns=columns, dtype=str)
    table = table.drop_duplicates("sha256", keep="last")
    return table[table["corrected"] != ""].reset_index(drop=True)


def add_to_split(
    split: pd.DataFrame, file: Path, normal: Sequence[str] = (), reencoded: bool = False
) -> pd.DataFrame:
    """Add corrected images to the training part of a split.

    An image whose pixels are in the training or validation part already takes the corrected label
    there; one of the test part is left as it is, so that the test stays the same.

    Parameters
    ----------
    split
        As `splits.read_split` returns it.
    file
        As `write` writes it. Its labels have to be classes of the split; images of `NONE` and
        `NO_DEFECT` are left out where these are none, and so are strips: images that prediction
        would cut into windows.
    normal
        Classes that mean "no defect": images that are corrected to one lose their boxes. Boxes of
        other corrected images take the new label.
    reencoded
        Whether the split is of copies with other pixels, in which a test image is not known by
        those of its file: UserError then.
    """
    if reencoded:
        raise UserError("corrections do not fit images that REENCODE has copied: leave one out")
    table, classes = read(file), set(split["label"])
    is_void = table["corrected"].isin({NONE, NO_DEFECT} - classes)
    kept_out = (split["part"] != "test") & split["sha256"].isin(table["sha256"][is_void])
    split, table = split[~kept_out], table[~is_void]
    unknown = sorted(set(table["corrected"]) - classes)
    if unknown:
        raise UserError(f"{file} names {', '.join(unknown)}: no class of this split; correct it")
    labels = table.set_index("sha256")["corrected"]
    relabelled = (split["part"] != "test") & split["sha256"].isin(labels.index)
    split = split.copy()
    for row in split.index[relabelled]:
        label, boxes = labels[split.at[row, "sha256"]], split.at[row, "boxes"]
        boxes = [] if label in normal else _relabel(boxes, split.at[row, "label"], label)
        split.at[row, "label"], split.at[row, "boxes"] = label, boxes
    new = table[~table["sha256"].isin(split["sha256"])]
    columns = (new[name] for name in ("path", "corrected", "sha256"))
    rows = [
        _split_row(path, label, sha256, -1 - number)
        for number, (path, label, sha256) in enumerate(zip(*columns, strict=True))
    ]
    usual = datasets.typical_size(split)
    fitting = [row for row in rows if not is_large((row["height"], row["width"]), usual)]
    if len(fitting) < len(rows):
        print(
            f"{len(rows) - len(fitting)} corrected images are left out: they are far larger than "
            "the training images, and one class does not hold for all of a strip"
        )
    return pd.concat([split, pd.DataFrame(fitting, columns=split.columns)], ignore_index=True)


def _rows(file: Path) -> list[list[str]]:
    """Read the lines of a file, one by one: an open quotation mark ends with its line."""
    text = read_bytes(file, MAX_BYTES).decode("utf-8-sig", "surrogateescape")
    return [_row(line) for line in text.replace("\r", "\n").split("\n") if line]


def _row(line: str) -> list[str]:
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _append(file: Path, row: Sequence[str]) -> None:
    """Add a line to a file, after its header; one that was cut off ends first."""
    line = _csv_line(row)
    with file.open("ab+") as lines:
        if lines.tell() == 0:
            line = _csv_line(COLUMNS) + line
        else:
            lines.seek(0)
            if _row(lines.readline().decode("utf-8-sig", "replace").strip()) != COLUMNS:
                raise UserError(f"{file} is no file of corrections: rename it, and correct again")
            lines.seek(-1, os.SEEK_END)
            line = "\n" * (lines.read() != b"\n") + line
        lines.write(line.encode("utf-8", "surrogateescape"))


def _csv_line(row: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    return line.getvalue()


def _relabel(boxes: list, old: str, new: str) -> list:
    """Return boxes, [label, xmin, ymin, xmax, ymax] each, with the new label of their image."""
    return [[new if label == old else label, *edges] for label, *edges in boxes]


def _split_row(path: str, label: str, sha256: str, group: int) -> dict:
    if not Path(path).exists():
        raise UserError(f"{path} is gone: remove its line from the corrections, or bring it back")
    height, width = decode(read_file(path), path).shape
    facts = {"path": path, "label": label, "number": 0, "width": width, "height": height}
    return facts | {"boxes": [], "sha256": sha256, "part": "train", "group": group}
