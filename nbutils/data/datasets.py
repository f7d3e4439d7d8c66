"""Data sets: where the images are, their index with labels and boxes, and reading them."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nbutils import runs, runtime
from nbutils.artefacts import BIT_DEPTHS
from nbutils.data import bit_depth, layouts, synthetic
from nbutils.data.images import ImageError, common_bit_depth, decode, pixel_hash, read_file, resize
from nbutils.disk import UserError

KAGGLE = "kaustubhdikshit/neu-surface-defect-database"


@dataclass(frozen=True)
class Source:
    """Where the images come from, and why from there."""

    folder: Path
    reason: str
    name: str  # NEU-DET, the folder's own name, or SYNTHETIC


def find_source(folder: str | Path | None = None) -> Source:
    """Find the images: the given folder, NEU-DET where it usually is, Kaggle, or the stand-in.

    Parameters
    ----------
    folder
        Taken where given, else the environment variable NEU_DET_DIR.

    Raises
    ------
    UserError
        If the given folder does not exist.
    """
    name, by = (folder, "DATA_DIR") if folder else (os.environ.get("NEU_DET_DIR"), "NEU_DET_DIR")
    if name:
        try:
            given = Path(name).expanduser().resolve()
            is_folder = given.is_dir()
        except (OSError, RuntimeError, ValueError):  # a name too long, of nobody, or with a zero
            given, is_folder = Path(name), False
        if not is_folder:
            shown = repr(str(given))[1:-1]
            raise UserError(f"{shown} is no folder: correct {by}, or leave it empty to search")
        return _source(given, f"{by} names it")
    location = default_location()
    if location:
        return _source(location, "found in its usual place")
    try:
        return Source(_download(), f"downloaded from Kaggle ({KAGGLE})", "NEU-DET")
    except OSError as error:
        reason = f"NEU-DET is neither in {runs.DATA} nor on Kaggle for this machine ({error})"
    return Source(synthetic.write_dataset(runs.DATA / "SYNTHETIC"), reason, "SYNTHETIC")


def default_location() -> Path | None:
    """Return where NEU-DET lies in or beside the checkout, if it does."""
    locations = (runs.DATA / "NEU-DET", runs.ROOT.parent / "shared" / "NEU-DET")
    return next((folder for folder in locations if folder.is_dir()), None)


def _source(folder: Path, reason: str) -> Source:
    if synthetic.is_synthetic(folder):
        return Source(folder, reason, "SYNTHETIC")
    return Source(folder, reason, folder.name)


def _download() -> Path:
    """Download NEU-DET by kagglehub; OSError where Kaggle cannot be had."""
    if not runtime.is_reachable("https://www.kaggle.com"):
        raise OSError("no answer from the network")
    import kagglehub
    from kagglehub.exceptions import KaggleApiHTTPError

    try:
        return Path(kagglehub.dataset_download(KAGGLE))
    except KaggleApiHTTPError as error:
        raise OSError(str(error)) from error


def folder_of(run: str) -> str:
    """Return the folder with the images of a run that has been split; empty for another."""
    audit = runs.OUTPUTS / run / runs.AUDIT
    known = runs.read_json(audit).get("data", {}).get("folder", "") if audit.exists() else ""
    if audit.exists() and not known:
        raise UserError(f"{audit} names no folder of images: remove it, and run notebook 01 again")
    return known


def name_run(source: Source) -> str:
    """Return the name of a run after that of its data; UserError if other things are there."""
    name, cure = source.name, "name the run otherwise, by RUN or --run"
    if name in runs.RESERVED:
        raise UserError(f"{name} is a folder of outputs/ already: {cure}")
    known = folder_of(name)
    if known and Path(known).resolve() != source.folder.resolve():
        raise UserError(f"the run {name} is of {known}, not of {source.folder}: {cure}")
    return name


def index_images(
    folder: str | Path, layout: str = "", normal_class: str = "", bits: int | None = None
) -> pd.DataFrame:
    """List the images of a folder with their labels, boxes and hashes.

    Parameters
    ----------
    folder, layout, normal_class
        As `layouts.read_layout` takes them.
    bits
        The bit depth of the camera where files have 16 bits, else that of the set
        (`images.common_bit_depth`).

    Returns
    -------
    One row an image, sorted by label and number: path (absolute), label, number, width, height
    (pixels), boxes (list of (label, xmin, ymin, xmax, ymax), pixels), sha256 (of the pixels).
    `attrs`: skipped (each file that could not be used -> the reason), notes (what was changed),
    boxes (what was done to boxes -> file -> how many), bit_depth (that 16-bit files were read as)
    and layout (what was understood, as text).

    Raises
    ------
    UserError
        If the folder is missing, can be read in two ways, or holds no readable images of at least
        two classes.
    """
    runs.keep_any_name()
    known = layouts.read_layout(folder, layout, normal_class)
    skipped = dict(known.ignored)
    bit_depth.check(bits)
    if not bits and (bits := common_bit_depth([str(entry.path) for entry in known.entries])):
        known.notes.append(bit_depth.describe(bits))
    numbered = list(zip(known.entries, _numbers(known.entries), strict=True))
    progress = tqdm(numbered, desc="Reading images", unit="image")
    rows = {entry.path: _index_row(entry, number, skipped, bits) for entry, number in progress}
    columns = ["path", "label", "number", "width", "height", "boxes", "sha256"]
    table = pd.DataFrame([row for row in rows.values() if row], columns=columns)
    table = table.sort_values(["label", "number"], ignore_index=True)
    if table["label"].nunique() < 2:
        raise UserError(
            f"{known.folder} holds {len(table)} readable images of {table['label'].nunique()} "
            "classes: put the images of each class into a folder of its name"
            f"{layouts.left_out(skipped)}"
        )
    readable = [entry for entry in known.entries if rows[entry.path]]
    table.attrs |= {"skipped": skipped, "notes": known.notes, "boxes": known.boxes}
    table.attrs |= {"normal_classes": list(known.normal_classes), "bit_depth": bits}
    table.attrs["layout"] = replace(known, entries=readable, ignored=skipped).describe()
    return table


def _numbers(entries: list[layouts.Entry]) -> list[int]:
    """Return the number that each image's name ends with, else its count within the class."""
    counts: Counter[str] = Counter()
    numbers = []
    for entry in entries:
        counts[entry.label] += 1
        digits = re.search(r"(\d{1,9})\)?$", entry.path.stem)
        numbers.append(int(digits[1]) if digits else counts[entry.label])
    return numbers


def _index_row(
    entry: layouts.Entry, number: int, skipped: dict[str, str], bits: int | None
) -> tuple | None:
    """Return the row of an image; None, and why in `skipped`, if it cannot be read."""
    name = str(entry.path)
    try:
        gray = decode(read_file(entry.path), name, bits)
    except ImageError as error:
        skipped[name] = str(error)
        return None
    height, width = gray.shape
    return name, entry.label, number, width, height, entry.boxes, pixel_hash(gray)


def read_images(table: pd.DataFrame, size: int) -> np.ndarray:
    """Read the images of a split, each checked against its hash.

    Parameters
    ----------
    table
        Rows of `split.csv`: path and sha256.
    size
        Side of the model's input in pixels.

    Returns
    -------
    uint8 array of shape (images, size, size, 1), 0 to 255.

    Raises
    ------
    UserError
        If an image is missing or has changed since the split was made.
    """
    images = np.empty((len(table), size, size, 1), np.uint8)
    for index, row in enumerate(zip(table["path"], table["sha256"], strict=True)):
        images[index] = resize(read_original(*row), size)
    return images


def read_part(
    split: pd.DataFrame, part: str, classes: Sequence[str], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read one part of a split as a model's images (see `read_images`) and class numbers (int)."""
    rows = split[split["part"] == part]
    return read_images(rows, size), rows["label"].map(classes.index).to_numpy()


def read_originals(table: pd.DataFrame) -> list[np.ndarray]:
    """Read the images of a split at their own size: uint8 arrays (height, width)."""
    return [read_original(*row) for row in zip(table["path"], table["sha256"], strict=True)]


def read_original(path: str, sha256: str) -> np.ndarray:
    """Read an image at its own size: uint8 (height, width); UserError where it has changed."""
    if not Path(path).exists():
        raise UserError(f"{path} is gone: run 01_data_exploration again")
    data = read_file(path)
    errors = []
    for bits in (None, *BIT_DEPTHS):  # the hash says which of them it was split with
        try:
            gray = decode(data, path, bits)
        except ImageError as error:
            errors.append(error)
            continue
        if pixel_hash(gray) == sha256:
            return gray
    if len(errors) > len(BIT_DEPTHS):
        raise errors[0]
    raise UserError(f"{path} is not the image that was split: run 01_data_exploration again")


def typical_size(rows: pd.DataFrame) -> tuple[int, int]:
    """Return height and width in pixels that 95 of 100 images of a split do not exceed."""
    height, width = (int(np.ceil(rows[side].quantile(0.95))) for side in ("height", "width"))
    return height, width


def box_masks(rows: pd.DataFrame, labels: Iterable[str], side: int) -> np.ndarray:
    """Mark the pixels of one class's boxes in each image, on a square grid.

    Parameters
    ----------
    rows
        boxes, (label, xmin, ymin, xmax, ymax) each; width and height of the image; all in pixels.
    labels
        The class whose boxes count, for each image.
    side
        Of the grid.

    Returns
    -------
    bool array of shape (images, side, side).
    """
    masks = np.zeros((len(rows), side, side), bool)
    columns = (rows[name] for name in ("width", "height", "boxes"))
    for mask, label, width, height, boxes in zip(masks, labels, *columns, strict=True):
        scale_x, scale_y = side / width, side / height
        for name, left, top, right, bottom in boxes:
            if name == label:
                mask[_span(top, bottom, scale_y), _span(left, right, scale_x)] = True
    return masks


def _span(start: float, stop: float, scale: float) -> slice:
    """Return the cells between two edges in pixels; a negative edge is 0, not one from behind."""
    return slice(max(int(start * scale), 0), max(int(np.ceil(stop * scale)), 0))
