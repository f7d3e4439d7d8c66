"""Files below a folder: which there are, which are images, and which belong to which image."""

import os
import re
import stat
import unicodedata
from itertools import takewhile
from pathlib import Path

from nbutils.data.containers import JPEG, PNG, TIFF
from nbutils.disk import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")  # of images
HIDDEN = re.compile(r"^(\.|__)")
TEXTS = (".xml", ".json", ".txt", ".csv", ".yaml", ".yml", ".names", ".md")
UNSUPPORTED = (".webp", ".gif", ".jp2", ".heic", ".avif", ".npy")  # formats that are not read
SIGNATURES = (JPEG + b"\xff", PNG, *TIFF)  # of images under another suffix
IMAGE_FOLDERS = {"imgs", "images", "img", "image", "jpegimages", "data"}
MASK_FOLDERS = {"masks", "mask", "ground_truth", "gt", "segmentation", "segmentations"}
MASK_FOLDERS |= {"segmentationclass", "segmentationobject"}  # of Pascal VOC
SIDE_FOLDERS = {"labels", "annotations", *MASK_FOLDERS}
MAX_BYTES = 64 * 2**20  # of an annotation, a table, a list
PART = re.compile(r"(train|test|val)(?:id|idation)?(?:20\d\d)?", re.IGNORECASE)  # a folder of it


def scan(folder: Path, ignored: dict[str, str]) -> list[Path]:
    """Return the regular files below a folder, sorted, without hidden ones.

    Linked folders are followed, each folder once. What cannot be read is entered into `ignored`
    with the reason.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the one that holds the images")
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    folders = [folder]
    links: list[Path] = []
    while folders or links:
        current = folders.pop() if folders else links.pop(0)
        for path in _list(current, seen, ignored):
            if HIDDEN.match(path.name):
                continue
            if os.path.isdir(path):  # noqa: PTH112  Path.is_dir raises where access is denied
                if path.is_symlink() and folder.is_relative_to(path.resolve()):
                    ignored[str(path)] = f"{path} is a link to a folder that it is in"
                else:
                    (links if path.is_symlink() else folders).append(path)
            elif _is_usable(path, ignored):
                files.append(path)
    return sorted(files)


def _list(folder: Path, seen: set[tuple[int, int]], ignored: dict[str, str]) -> list[Path]:
    """List a folder that is not yet `seen`."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            ignored[str(folder)] = f"{folder} is a link to a folder that is read already"
            return []
        seen.add((status.st_dev, status.st_ino))
        return list(folder.iterdir())
    except OSError as error:
        ignored[str(folder)] = (
            f"{folder} cannot be listed ({error.strerror}): give yourself access, or remove it"
        )
        return []


def _is_usable(path: Path, ignored: dict[str, str]) -> bool:
    """Tell whether a path is a regular file; a pipe is never opened."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
        reason = "" if regular else "is no regular file (a pipe or a device): remove it"
        if "\r" in str(path):  # which tables take for the end of a row
            reason = "has a carriage return in its name: rename it"
    except OSError as error:
        reason = f"cannot be read ({error.strerror}): give yourself access, or remove it"
    if reason:
        ignored[str(path)] = f"{path} {reason}"
    return not reason


def is_image(path: Path) -> bool:
    """Tell an image by its suffix, or by its first bytes where the suffix says nothing."""
    suffix = path.suffix.lower()
    if suffix in SUFFIXES or suffix in TEXTS:
        return suffix in SUFFIXES
    try:
        with path.open("rb") as file:
            start = file.read(10)
    except OSError:
        return False
    return start.startswith(SIGNATURES) or (start[:2] == b"BM" and start[6:] == bytes(4))


def read_bytes(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file of at most `limit` bytes; a pipe or a device is never opened.

    Raises UserError, which names the file and the cure, for anything else and for a missing file.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= limit:
            with Path(path).open("rb") as file:
                return file.read(status.st_size)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: correct its name, or copy it again") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}): give yourself access, or copy it again"
        ) from error
    except ValueError as error:  # a name with a zero character
        raise UserError(f"{str(path)!r} is no name of a file ({error}): correct it") from error
    if stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} has over {limit // 2**20} MB: shrink or split it")
    raise UserError(f"{path} is no regular file (a folder, a pipe or a device): name a file")


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8 or UTF-16; in Latin-1 where it is neither (see `read_bytes`)."""
    data = read_bytes(path, MAX_BYTES)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    if data[:2].count(0) == 1:  # UTF-16 without a mark
        return data.decode("utf-16-le" if data[0] else "utf-16-be", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def class_folders(path: Path, folder: Path) -> tuple[str, ...]:
    """Return the folders between `folder` and a file that may name a class."""
    parts = path.relative_to(folder).parts[:-1]
    return tuple(part for part in parts if not _is_neutral(part))


def _is_neutral(name: str) -> bool:
    """Tell whether a folder's name says what its files are for, and names no class."""
    return name.strip().lower() in IMAGE_FOLDERS | SIDE_FOLDERS or bool(
        PART.fullmatch(name.strip())
    )


class ImageIndex:
    """Images by name: finds the one that an annotation or a mask belongs to."""

    def __init__(self, folder: Path, images: list[Path]):
        self.folder = folder
        self.by_stem: dict[str, list[Path]] = {}
        self.by_name: dict[str, list[Path]] = {}
        for image in images:
            self.by_stem.setdefault(image.stem, []).append(image)
            self.by_name.setdefault(composed(image.name), []).append(image)
        self.places = {self._beside(image) for image in images} - {()}
        self.folders = {image.parent for image in images}

    def owners(self, file: Path, stem: str, anywhere: bool = True) -> list[Path]:
        """Return the images of a stem that are nearest to a file.

        In the same folder; else in the one beside it (`images/` for `labels/`). Where that holds
        other images, this one is missing, and none of its name elsewhere is meant. Else in one of
        the same class; else anywhere, if `anywhere`; but never in another part (`train`).
        """
        same = self._in_part(self.by_stem.get(stem, []), self._parts_of(file.parent))
        for key in (self._parent, self._beside, self._class):
            matches = [image for image in same if key(image) == key(file)]
            if matches:
                return matches
            if key == self._beside and key(file) in self.places:
                return []
        return same if anywhere or not self._class(file) else []

    def named(self, name: str, source: Path) -> list[Path]:
        """Return the images that a path in a table or a COCO file may mean.

        The path starts from the folder of `source` or from the data folder; else its end counts,
        and the part (`train`) that `source` is named by. Where a folder of that path holds other
        images, this one is missing, and none of its name elsewhere is meant.
        """
        path = Path(composed(name.strip().replace("\\", "/")))
        same = self.by_name.get(path.name, [])
        stated = [source.parent / path, self.folder / path]
        exact = [image for image in same if Path(composed(str(image))) in stated]
        if exact:
            return exact[:1]
        words = re.split(r"[\W_]+", source.stem)  # of `instances_train2017.json`
        matches = self._in_part(same, self._parts_of(source.parent / path.parent, *words))
        shared = [_shared_end(image, path) for image in matches]
        longest = max(shared, default=0)
        place = path.parent.name or (source.parent != self.folder and source.parent.name)
        if longest == 1 and place in {folder.name for folder in self.folders}:
            return []
        return [image for image, n in zip(matches, shared, strict=True) if n == longest]

    def _parts_of(self, folder: Path, *words: str) -> set[str]:
        """Return the parts (`train`) that words, or the folders down to one, are named by."""
        inner = folder.relative_to(self.folder).parts if folder.is_relative_to(self.folder) else ()
        return {match[1].lower() for word in (*inner, *words) if (match := PART.fullmatch(word))}

    def _in_part(self, images: list[Path], parts: set[str]) -> list[Path]:
        """Return the images that are in one of some parts, or in none."""
        known = ((image, self._parts_of(image.parent)) for image in images)
        return [image for image, of in known if not of or not parts or of & parts]

    def _parent(self, path: Path) -> Path:
        return path.parent

    def _beside(self, path: Path) -> tuple[str, ...]:
        parts = path.relative_to(self.folder).parts[:-1]
        return tuple(p for p in parts if p.lower() not in IMAGE_FOLDERS | SIDE_FOLDERS)

    def _class(self, path: Path) -> tuple[str, ...]:
        return class_folders(path, self.folder)


def _shared_end(path: Path, other: Path) -> int:
    """Count the last parts that two paths share."""
    pairs = zip(reversed(path.parts), reversed(other.parts), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def composed(name: str) -> str:
    """Return a name with each accent in its letter: some systems write them apart."""
    return unicodedata.normalize("NFC", name)


def csv_separator(header: str) -> str:
    """Return what separates the columns of a table, by its first line: comma, semicolon or tab."""
    return max(",;\t", key=header.count)
