"""Find the images, index them with their boxes, and hand them out as arrays."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nbutils import layouts, network, paths, synthetic
from nbutils.images import SUFFIXES, ImageError, decode, pixel_hash, square
from nbutils.paths import UserError

KAGGLE = "kaustubhdikshit/neu-surface-defect-database"


@dataclass(frozen=True)
class Source:
    """Where the images come from, and why from there."""

    folder: Path
    reason: str
    name: str  # NEU-DET, the folder's own name, or SYNTHETIC


def find(folder: str | Path | None = None) -> Source:
    """Find the images: the named folder, NEU-DET in its usual places, Kaggle, or the stand-in.

    Parameters
    ----------
    folder
        Taken where given, else the environment variable NEU_DET_DIR.

    Raises
    ------
    UserError
        If the folder that was asked for does not exist.
    """
    wish, by = (folder, "DATA_DIR") if folder else (os.environ.get("NEU_DET_DIR"), "NEU_DET_DIR")
    if wish:
        asked = Path(wish).expanduser().resolve()
        if not asked.is_dir():
            raise UserError(f"{asked} is no folder: correct {by}, or leave it empty to search")
        return _source(asked, f"{by} names it")
    place = usual_place()
    if place:
        return _source(place, "found in its usual place")
    try:
        return Source(_download(), f"downloaded from Kaggle ({KAGGLE})", "NEU-DET")
    except OSError as error:
        reason = f"NEU-DET is neither in {paths.DATA} nor on Kaggle for this machine ({error})"
    return Source(synthetic.stand_in(paths.DATA / "SYNTHETIC"), reason, "SYNTHETIC")


def usual_place() -> Path | None:
    """Return where NEU-DET lies in or beside the checkout, if it does."""
    places = (paths.DATA / "NEU-DET", paths.ROOT.parent / "shared" / "NEU-DET")
    return next((place for place in places if place.is_dir()), None)


def _source(folder: Path, reason: str) -> Source:
    if synthetic.is_stand_in(folder):
        return Source(folder, reason, "SYNTHETIC")
    return Source(folder, reason, folder.name)


def _download() -> Path:
    """Download NEU-DET by kagglehub; OSError where Kaggle cannot be had."""
    if not network.answers("https://www.kaggle.com"):
        raise OSError("no answer from the network")
    import kagglehub
    from kagglehub.exceptions import KaggleApiHTTPError

    try:
        return Path(kagglehub.dataset_download(KAGGLE))
    except KaggleApiHTTPError as error:
        raise OSError(str(error)) from error


def index(folder: str | Path) -> pd.DataFrame:
    """List the images of a folder with their labels, boxes and hashes.

    Layouts: `IMAGES/` and `ANNOTATIONS/`; a folder a class, also below `train/` and
    `validation/`; files named by class and number (`crazing_1.jpg`, or NEU-CLS's `Cr_1.bmp`).

    Returns
    -------
    One row an image, sorted by label and number: path (absolute), label, number, width, height
    (pixels), boxes (list of (label, xmin, ymin, xmax, ymax), pixels), sha256 (of the pixels).
    `attrs["skipped"]` maps each file that could not be used to the reason.

    Raises
    ------
    UserError
        If the folder is missing, or holds no readable images of at least two classes.
    """
    folder = Path(folder).resolve()
    files = layouts.find_files(folder, SUFFIXES)
    if not files:
        raise UserError(f"{folder} holds no images ({', '.join(SUFFIXES)}): name another folder")
    skipped: dict[str, str] = {}
    boxes = layouts.read_boxes(folder, files, skipped)
    labels = tqdm(layouts.read_labels(folder, files), desc="Reading images", unit="image")
    rows = [_facts(file, label, number, boxes, skipped) for file, label, number in labels]
    columns = ["path", "label", "number", "width", "height", "boxes", "sha256"]
    table = pd.DataFrame([row for row in rows if row], columns=columns)
    table = table.sort_values(["label", "number"], ignore_index=True)
    if table["label"].nunique() < 2:
        raise UserError(
            f"{folder} holds {len(table)} readable images of {table['label'].nunique()} classes, "
            f"{len(skipped)} files skipped: put the images of each class into a folder of its name"
        )
    table.attrs["skipped"] = skipped
    return table


def _facts(file: Path, label: str, number: int, boxes: dict, skipped: dict) -> tuple | None:
    """Return the row of an image; None, and why in `skipped`, if it cannot be read."""
    try:
        gray = decode(file.read_bytes(), str(file))
    except (ImageError, OSError) as error:
        skipped[str(file)] = str(error)
        return None
    height, width = gray.shape
    return str(file), label, number, width, height, boxes.get(file, []), pixel_hash(gray)


def read_images(table: pd.DataFrame, size: int) -> np.ndarray:
    """Read the images of a split, each checked against its hash.

    Parameters
    ----------
    table
        Rows of `split.csv`: path and sha256.
    size
        Side of the squares in pixels.

    Returns
    -------
    uint8 array of shape (images, size, size, 1), 0 to 255.

    Raises
    ------
    UserError
        If an image is missing or has changed since the split was made.
    """
    images = np.empty((len(table), size, size, 1), np.uint8)
    for at, row in enumerate(zip(table["path"], table["sha256"], strict=True)):
        images[at] = square(_read(*row), size)
    return images


def read_arrays(
    split: pd.DataFrame, part: str, classes: list[str], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read one part of a split as a model's images (see `read_images`) and class numbers (int)."""
    rows = split[split["part"] == part]
    return read_images(rows, size), rows["label"].map(classes.index).to_numpy()


def read_grays(table: pd.DataFrame) -> list[np.ndarray]:
    """Read the images of a split at their own size: uint8 arrays (height, width)."""
    return [_read(*row) for row in zip(table["path"], table["sha256"], strict=True)]


def _read(path: str, sha256: str) -> np.ndarray:
    try:
        gray = decode(Path(path).read_bytes(), path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is gone: run 01_data_exploration again") from error
    if pixel_hash(gray) != sha256:
        raise UserError(f"{path} is not the image that was split: run 01_data_exploration again")
    return gray
