"""What a model's folder holds, read with nothing taken on trust: damage is a UserError."""

import lzma
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from nbutils import disk, runs
from nbutils.disk import UserError

DIGEST_LINE = re.compile(r"(?P<digest>[0-9a-f]{64}) [ *](?P<name>.+)")  # as sha256sum writes it
MAX_UNPACKED = 2**30  # bytes of all that an archive holds
UNPACKING = (  # what a damaged archive raises
    OSError, EOFError, KeyError, ValueError, OverflowError, RuntimeError, NotImplementedError,
    struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
HEADERS = {  # of an array, by the version of its format
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
MAX_LENGTH = 100_000  # pixels, or cells
MIN_SIDE = 16  # pixels, of an image
TTA_VIEWS = (1, 4, 8)  # the image itself, its turns, and the turns of its mirror image
CELL_EXTRA = 5  # outputs of a cell beside the classes: quality of its box, and four distances
MAX_LOG_DISTANCE = 4.0  # of a box's edge, in cells
BIT_DEPTHS = (10, 12, 14, 16)
TEXT = "text: "  # begins the axes of an array of names


@contextmanager
def digested(*files: Path) -> Iterator[None]:
    """Keep the SHA-256 of files of one folder, written meanwhile, for `check_digest`.

    Their lines in `SHA256SUMS` go before and come after: a writer that is interrupted leaves files
    without a digest, none with a wrong one.
    """
    _enter_digests(files, {})
    yield
    _enter_digests(files, {file.name: disk.digest(file) for file in files})


def _enter_digests(files: tuple[Path, ...], digests: Mapping[str, str]) -> None:
    """Put digests of files, by name, in the place of those that they had, if any."""
    listed = files[0].with_name(runs.DIGESTS)
    with disk.locked_file(listed):
        before, names = _read_digests(listed), {file.name for file in files}
        after = {name: value for name, value in before.items() if name not in names} | dict(digests)
        if after == before:
            return
        if not after:
            listed.unlink()
            return
        lines = [f"{value}  {name}\n" for name, value in sorted(after.items())]
        with disk.atomic_write(listed) as tmp:
            tmp.write_text("".join(lines), encoding="utf-8")


def _read_digests(listed: Path) -> dict[str, str]:
    """Return the digests of a folder by the names of the files, none if there are none."""
    if not listed.is_file():
        return {}
    with disk.disk_errors(listed):
        text = listed.read_text(encoding="utf-8", errors="replace")
    rows = [DIGEST_LINE.fullmatch(line) for line in text.splitlines()]
    if not rows or not all(rows):
        raise damaged(listed, "it does not list digests")
    return {row["name"]: row["digest"] for row in rows if row}


def is_changed(file: Path) -> bool:
    """Tell whether a file is another than the one whose digest was kept (`digested`), if any."""
    kept = _read_digests(file.with_name(runs.DIGESTS)).get(file.name)
    return kept is not None and file.is_file() and kept != disk.digest(file)


def check_digest(file: Path) -> None:
    """Raise UserError if a file has changed: a damaged weight or threshold would go unnoticed."""
    if is_changed(file):
        purpose = f"if you changed it on purpose, remove its line in {runs.DIGESTS}"
        raise damaged(file, f"it is not what was written; {purpose}")


def read_card(model: Path) -> dict[str, Any]:
    """Read `model.json`; its `classes` are distinct names, and `tta_views` one of `TTA_VIEWS`.

    Where there is a `grid` of cells, it has `defect_threshold`, `boxed` (whether they were trained
    with boxes, drawn by people or pseudo ones) and `normal`; where there is an `image_size`, it is
    two lengths, and `bit_depth` is one of cameras. Raises UserError for anything else.
    """
    file = model / runs.MODEL_CARD
    check_digest(file)
    card = {"tta_views": 1, **runs.read_json(file)}
    classes = card.get("classes")
    if not isinstance(classes, list) or not classes:
        raise damaged(file, "it names no classes")
    if not all(isinstance(name, str) and name.strip() for name in classes):
        raise damaged(file, "a class has no name")
    if len(set(classes)) < len(classes):
        raise damaged(file, "a class is named twice")
    if type(card["tta_views"]) is not int or card["tta_views"] not in TTA_VIEWS:
        raise damaged(file, f"tta_views is {card['tta_views']!r:.40}")
    size = card.get("image_size")
    if size is not None and not (isinstance(size, list) and len(size) == 2 and _are_lengths(size)):
        raise damaged(file, f"image_size is {size!r:.40}")
    if size and min(size) < MIN_SIDE:
        raise damaged(file, f"image_size is {size!r:.40}")
    bits = card.get("bit_depth")
    if bits is not None and (type(bits) is not int or bits not in BIT_DEPTHS):
        raise damaged(file, f"bit_depth is {bits!r:.40}")
    if card.get("grid"):
        _check_cells(card, file)
    return card


def _check_cells(card: Mapping[str, Any], file: Path) -> None:
    read_number(card, "defect_threshold", 0, 1, file)
    normal = card.get("normal")
    if not _are_lengths([card["grid"]]):
        raise damaged(file, f"grid is {card['grid']!r:.40}")
    if not isinstance(card.get("boxed"), bool):
        raise damaged(file, f"boxed is {card.get('boxed')!r:.40}")
    if not isinstance(normal, list) or any(name not in card["classes"] for name in normal):
        raise damaged(file, f"normal is {normal!r:.40}, and no list of classes")


def _are_lengths(values: list) -> bool:
    return all(type(value) is int and 0 < value <= MAX_LENGTH for value in values)


def read_number(
    content: Mapping[str, Any], name: str, low: float, high: float, file: Path
) -> float:
    """Return a number that a JSON file holds; UserError if it is none, or beyond the limits."""
    value = content.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or not is_number or not low <= value <= high:
        raise damaged(file, f"{name} is {value!r:.40}")
    return float(value)


def read_arrays(file: Path, shapes: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Read an `.npz` file without running or trusting what it holds.

    Parameters
    ----------
    file
        Written by `numpy.savez_compressed`.
    shapes
        For each array its axes, a letter each, of the same length wherever they have the same
        letter; or `"text: "` and the axes. All numbers are finite.

    Raises
    ------
    UserError
        If the file is missing or damaged, larger than `MAX_UNPACKED`, or of other arrays.
    """
    check_archive(file)
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.getinfo(f"{name}.npy") for name in shapes}
            arrays = {
                name: _read_array(archive.open(member), member.file_size)
                for name, member in members.items()
            }
    except UNPACKING as error:
        raise damaged(file, error) from error
    lengths: dict[str, int] = {}
    for name, axes in shapes.items():
        _check_array(file, name, arrays[name], axes, lengths)
    return arrays


def _check_array(
    file: Path, name: str, array: np.ndarray, axes: str, lengths: dict[str, int]
) -> None:
    """Raise UserError unless an array has its axes, each as long as in `lengths`, and numbers."""
    kinds, axes = ("U", axes.removeprefix(TEXT)) if axes.startswith(TEXT) else ("fiu", axes)
    fits = array.ndim == len(axes) and array.dtype.kind in kinds and array.size > 0
    for axis, length in zip(axes, array.shape, strict=False):
        fits &= lengths.setdefault(axis, length) == length
    if not fits:
        raise damaged(file, f"{name} is {array.dtype} of the shape {array.shape}")
    if kinds != "U" and not np.isfinite(array).all():
        raise damaged(file, f"{name} holds what is no number")


def check_archive(file: Path) -> None:
    """Raise UserError if a zip file is none, is damaged, or unpacks to over `MAX_UNPACKED`."""
    if not runs.require(file).is_file():
        raise damaged(file, "it is no file")
    check_digest(file)
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
            wrong = archive.testzip() if size <= MAX_UNPACKED else None
    except UNPACKING as error:
        raise damaged(file, error) from error
    if size > MAX_UNPACKED:
        raise damaged(file, f"it unpacks to {size >> 20} MB")
    if wrong:
        raise damaged(file, f"{wrong} in it is not what was written")


def _read_array(member: IO[bytes], size: int) -> np.ndarray:
    """Read an array whose header says as many bytes as there are, so that none are asked for."""
    with member:
        read_header = HEADERS[np.lib.format.read_magic(member)]
        shape, _, kind = read_header(member)
        if math.prod(shape) * kind.itemsize != size - member.tell():
            raise ValueError("an array is cut, or has another shape than it says")
        member.seek(0)
        return np.lib.format.read_array(member, allow_pickle=False)


def damaged(file: Path, reason: object) -> UserError:
    """Return the error of a damaged file, with its cure."""
    writer = runs.WRITTEN_BY[file.name]
    return UserError(f"{file} is damaged ({reason}): run {writer} again")
