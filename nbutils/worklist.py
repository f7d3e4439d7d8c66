"""What a batch inspection is to look at: listed once, so that it can go on where it was."""

import csv
import glob
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from nbutils import paths
from nbutils.images import SUFFIXES
from nbutils.paths import UserError

COLUMN = "path"  # of a CSV file that names images


def find(source: str) -> Iterator[str]:
    """List images one by one, folders in order of their names.

    Parameters
    ----------
    source
        A folder (with all below it), a pattern such as `shift_1/*.png`, or a CSV file with a column
        `path`; relative paths in it start from its folder.

    Raises
    ------
    UserError
        If there is no such source.
    """
    place = Path(source).expanduser()
    if place.is_dir():
        return _below(str(place.resolve()))
    if place.suffix.lower() == ".csv":
        if not place.exists():
            raise UserError(f"{place} is missing: name a folder, a pattern, or a CSV file")
        return _named(place.resolve())
    if glob.has_magic(str(place)):
        found = glob.iglob(str(place), recursive=True)  # noqa: PTH207  Path.glob wants relative ones
        return (str(Path(path).resolve()) for path in found if _is_image(path))
    raise UserError(f"{place} is no folder, no pattern, and no CSV file: correct it")


def write(source: str, file: Path) -> None:
    """Write what `find` lists, one JSON string a line: names may hold anything.

    Raises UserError if there is no image.
    """
    with paths.replacing(file) as beside:
        with beside.open("w", encoding="ascii") as lines:
            lines.writelines(json.dumps(path) + "\n" for path in find(source))
        if not beside.stat().st_size:
            raise UserError(f"{source} holds no images ({', '.join(SUFFIXES)}): name another place")


def count(file: Path) -> int:
    """Return how many images `write` has listed."""
    with file.open(encoding="ascii") as lines:
        return sum(1 for _ in lines)


def read(file: Path, done: int) -> Iterator[str]:
    """Return the images that `write` has listed, but for the first ones, which are done."""
    with file.open(encoding="ascii") as lines:
        for line in islice(lines, done, None):
            yield json.loads(line)


def _below(folder: str) -> Iterator[str]:
    try:
        names = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error}): give yourself access") from error
    for at, entry in enumerate(names):
        names[at] = None  # a folder of many files is held but once
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        elif _is_image(entry.name):
            yield entry.path


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _named(table: Path) -> Iterator[str]:
    with table.open(encoding="utf-8-sig", newline="") as lines:  # spreadsheets begin with a mark
        rows = csv.DictReader(lines)
        try:
            if COLUMN not in (rows.fieldnames or ()):
                raise UserError(f"{table} has no column {COLUMN!r}: name the column of paths so")
            for row in rows:
                if not row[COLUMN]:
                    raise UserError(f"{table} has no path in line {rows.line_num}: fill it in")
                yield str(table.parent / row[COLUMN])
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{table} is no CSV file in UTF-8 ({error}): save it as one") from error
