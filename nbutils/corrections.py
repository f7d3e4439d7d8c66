"""Labels that people corrected: written by the demo, taken in by training."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from nbutils import paths
from nbutils.images import decode, pixel_hash
from nbutils.paths import UserError

COLUMNS = ["path", "sha256", "predicted", "corrected", "time", "model"]


def file_of(model: str) -> Path:
    """Return where the corrections of a model are kept: in the run of its name."""
    return paths.OUTPUTS / model / "corrections.csv"


def write(gray: np.ndarray, predicted: str, corrected: str, model: str) -> Path:
    """Add a correction to a model's file; `read` takes the last one of the same pixels.

    A line is added at the end, so that several pages may do so at once. The image is kept beside
    the file, since an upload is nowhere else.

    Parameters
    ----------
    gray
        uint8, shape (height, width).
    predicted, corrected
        The class that the model named, and the right one.
    model
        Name of the model.

    Returns
    -------
    The file.
    """
    file = file_of(model)
    digest = pixel_hash(gray)
    image = file.parent / "corrections" / f"{digest[:16]}.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    with paths.replacing(image) as beside:
        Image.fromarray(gray).save(beside)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    row = pd.DataFrame([(str(image), digest, predicted, corrected, now, model)], columns=COLUMNS)
    with file.open("a", encoding="utf-8", newline="") as lines:
        row.to_csv(lines, index=False, header=not lines.tell(), lineterminator="\n")
    return file


def read(file: Path) -> pd.DataFrame:
    """Read corrections, the last of each image.

    Raises UserError where the file is missing or not one of corrections.
    """
    if not file.exists():
        raise UserError(f"{file} is missing: correct a label in 05_upload_demo first")
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise UserError(
            f"{file} cannot be read ({error}): name a file that the demo wrote"
        ) from error
    lacking = [column for column in COLUMNS if column not in table]
    if lacking:
        raise UserError(f"{file} lacks {', '.join(lacking)}: name a file that the demo wrote")
    return table.drop_duplicates("sha256", keep="last", ignore_index=True)


def add_to(split: pd.DataFrame, file: Path) -> pd.DataFrame:
    """Add corrected images to the training part of a split.

    An image whose pixels are in the split already takes the corrected label there, if it is one to
    train by; one of the test part is left as it is, so that the test stays the same.

    Parameters
    ----------
    split
        As `splits.read_split` returns it.
    file
        As the demo writes it. Its labels have to be classes of the split.
    """
    table = read(file)
    unknown = sorted(set(table["corrected"]) - set(split["label"]))
    if unknown:
        raise UserError(f"{file} names {', '.join(unknown)}: no class of this split; correct it")
    labels = table.set_index("sha256")["corrected"]
    learned = (split["part"] != "test") & split["sha256"].isin(labels.index)
    split = split.copy()
    split.loc[learned, "label"] = split.loc[learned, "sha256"].map(labels)
    new = table[~table["sha256"].isin(split["sha256"])]
    rows = [_row(row.path, row.corrected, row.sha256) for row in new.itertuples()]
    return pd.concat([split, pd.DataFrame(rows, columns=split.columns)], ignore_index=True)


def _row(path: str, label: str, sha256: str) -> dict:
    if not Path(path).exists():
        raise UserError(f"{path} is gone: remove its line from the corrections, or bring it back")
    height, width = decode(Path(path).read_bytes(), path).shape
    facts = {"path": path, "label": label, "number": 0, "width": width, "height": height}
    return facts | {"boxes": [], "sha256": sha256, "part": "train"}
