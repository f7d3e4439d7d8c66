"""Layouts of image folders: from their names to labels, and from Pascal VOC files to boxes."""

import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from nbutils.runs import UserError

NEU_CLASSES = (
    "crazing",
    "inclusion",
    "patches",
    "pitted_surface",
    "rolled-in_scale",
    "scratches",
)
NEU_CLS_PREFIXES = dict(zip(("Cr", "In", "Pa", "PS", "RS", "Sc"), NEU_CLASSES, strict=True))


def find_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files below a folder with one of these suffixes, sorted, without hidden ones."""
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds the images")
    files = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    hidden = re.compile(r"^(\.|__)")
    return sorted(
        path
        for path in files
        if not any(hidden.match(part) for part in path.relative_to(folder).parts)
    )


def read_labels(folder: Path, files: list[Path]) -> list[tuple[Path, str, int]]:
    """Return each file with its label and its number within the class.

    A folder of several classes (`IMAGES`, or the one given) has the class in the names of its
    files, any other one is named by its class. Files without a number are counted.
    """
    flat = {parent for parent in {file.parent for file in files} if _is_flat(parent, folder, files)}
    labels = [_class_of(file.stem) if file.parent in flat else file.parent.name for file in files]
    counts: Counter[str] = Counter()
    rows = []
    for file, label in zip(files, labels, strict=True):
        counts[label] += 1
        digits = re.search(r"(\d{1,9})$", file.stem)
        rows.append((file, label, int(digits[1]) if digits else counts[label]))
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


def read_boxes(
    folder: Path, images: list[Path], skipped: dict[str, str]
) -> dict[Path, list[tuple]]:
    """Read the Pascal VOC files below a folder: image -> its boxes.

    A file belongs to the image of its name: the one in the same folder, else the only one of that
    name. A box is (label, xmin, ymin, xmax, ymax) in pixels. Files that cannot be used are entered
    into `skipped` with the reason.
    """
    named: dict[str, list[Path]] = {}
    for image in images:
        named.setdefault(image.stem, []).append(image)
    boxes = {}
    for file in find_files(folder, (".xml",)):
        same_name = named.get(file.stem, [])
        matches = [image for image in same_name if image.parent == file.parent] or same_name
        if len(matches) != 1:
            what = f"{len(matches)} images" if matches else "no image here"
            skipped[str(file)] = (
                f"{file} has boxes for {what}: remove it, or put it beside its image"
            )
            continue
        try:
            boxes[matches[0]] = [_box(node) for node in ET.parse(file).iter("object")]
        except (ET.ParseError, ValueError) as error:
            skipped[str(file)] = f"{file} is no Pascal VOC file ({error}): save it again"
    return boxes


def _box(node: ET.Element) -> tuple[str, int, int, int, int]:
    corners = (node.findtext(f"bndbox/{edge}", "") for edge in ("xmin", "ymin", "xmax", "ymax"))
    left, top, right, bottom = (int(float(corner)) for corner in corners)
    return node.findtext("name", ""), left, top, right, bottom
