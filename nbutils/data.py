"""Find the images, index them with their boxes, and hand them out as arrays."""

import os
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nbutils import network, paths, synthetic
from nbutils.images import SUFFIXES, ImageError, decode, pixel_hash, square
from nbutils.paths import UserError

KAGGLE = "kaustubhdikshit/neu-surface-defect-database"
NEU_CLASSES = (
    "crazing",
    "inclusion",
    "patches",
    "pitted_surface",
    "rolled-in_scale",
    "scratches",
)
NEU_CLS_PREFIXES = dict(zip(("Cr", "In", "Pa", "PS", "RS", "Sc"), NEU_CLASSES, strict=True))


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
    for place in (paths.DATA / "NEU-DET", paths.ROOT.parent / "shared" / "NEU-DET"):
        if place.is_dir():
            return _source(place, "found in its usual place")
    try:
        return Source(_download(), f"downloaded from Kaggle ({KAGGLE})", "NEU-DET")
    except OSError as error:
        reason = f"NEU-DET is neither in {paths.DATA} nor on Kaggle for this machine ({error})"
    return Source(synthetic.stand_in(paths.DATA / "SYNTHETIC"), reason, "SYNTHETIC")


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
    files = _files(folder, SUFFIXES)
    if not files:
        raise UserError(f"{folder} holds no images ({', '.join(SUFFIXES)}): name another folder")
    skipped: dict[str, str] = {}
    boxes = _boxes(folder, {file.stem for file in files}, skipped)
    rows = []
    for file, label, number in tqdm(_labels(folder, files), desc="Reading images", unit="image"):
        try:
            gray = decode(file.read_bytes(), str(file))
        except (ImageError, OSError) as error:
            skipped[str(file)] = str(error)
            continue
        height, width = gray.shape
        rows.append((str(file), label, number, width, height, boxes.get(file.stem, [])))
        rows[-1] += (pixel_hash(gray),)
    columns = ["path", "label", "number", "width", "height", "boxes", "sha256"]
    table = pd.DataFrame(rows, columns=columns).sort_values(["label", "number"], ignore_index=True)
    if table["label"].nunique() < 2:
        raise UserError(
            f"{folder} holds {len(table)} readable images of {table['label'].nunique()} classes, "
            f"{len(skipped)} files skipped: put the images of each class into a folder of its name"
        )
    table.attrs["skipped"] = skipped
    return table


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


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds the images")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    hidden = re.compile(r"^(\.|__)")
    return sorted(
        path
        for path in found
        if not any(hidden.match(part) for part in path.relative_to(folder).parts)
    )


def _labels(folder: Path, files: list[Path]) -> list[tuple[Path, str, int]]:
    """Give each file its label and its number within the class."""
    flat = {parent for parent in {file.parent for file in files} if _is_flat(parent, folder, files)}
    labels = [_class_of(file.stem) if file.parent in flat else file.parent.name for file in files]
    counted: dict[str, int] = {}
    rows = []
    for file, label in zip(files, labels, strict=True):
        counted[label] = counted.get(label, 0) + 1
        digits = re.search(r"(\d{1,9})$", file.stem)
        rows.append((file, label, int(digits[1]) if digits else counted[label]))
    return rows


def _is_flat(parent: Path, folder: Path, files: list[Path]) -> bool:
    """Tell whether the files of a folder are named by class, rather than the folder itself."""
    if parent == folder or parent.name.lower() == "images":
        return True
    known = {_class_of(file.stem) for file in files if file.parent == parent} & set(NEU_CLASSES)
    return len(known) > 1


def _class_of(stem: str) -> str:
    prefix = re.sub(r"[_\- ]?\d+$", "", stem)
    return NEU_CLS_PREFIXES.get(prefix, prefix)


def _boxes(folder: Path, stems: set[str], skipped: dict[str, str]) -> dict[str, list[tuple]]:
    """Read the Pascal VOC files below a folder: stem of the image -> its boxes."""
    boxes = {}
    for file in _files(folder, (".xml",)):
        if file.stem not in stems:
            skipped[str(file)] = f"{file} has boxes for no image here: remove it or add the image"
            continue
        try:
            boxes[file.stem] = [_box(node) for node in ET.parse(file).iter("object")]
        except (ET.ParseError, ValueError, TypeError) as error:
            skipped[str(file)] = f"{file} is no Pascal VOC file ({error}): save it again"
    return boxes


def _box(node: ET.Element) -> tuple[str, int, int, int, int]:
    corners = (node.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax"))
    return (node.findtext("name"), *(int(float(corner)) for corner in corners))
