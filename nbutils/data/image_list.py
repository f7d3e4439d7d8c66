"""The images of a batch: sources -> paths, kept in a file so that an inspection can resume."""

import csv
import glob
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from nbutils import disk
from nbutils.data.files import HIDDEN, SUFFIXES, csv_separator
from nbutils.disk import UserError

PATH_COLUMN = "path"  # of a CSV file that names images


def list_images(sources: Sequence[str]) -> Iterator[str]:
    """List images one by one, source after source, those of folders and patterns by name.

    Parameters
    ----------
    sources
        Each a file; a folder (with all below it); a pattern such as `shift_1/*.png`; or a CSV file
        with a column `path`, whose relative paths start from its folder. What two of them name is
        listed twice.

    Returns
    -------
    Absolute paths.

    Raises
    ------
    UserError
        At once where a source does not exist or holds no images; while listing where a folder
        cannot be listed, or a CSV file is damaged.
    """
    if not sources:
        raise UserError("no source is named: name a file, a folder, a pattern, or a CSV file")
    return chain.from_iterable([_non_empty(source) for source in sources])


def list_named(source: str) -> Iterable[str]:
    """List the images of a source; an image file stays as it is named, whether it exists or not."""
    is_image = _is_image(source) and not glob.has_magic(source)
    if is_image and not os.path.isdir(source):  # noqa: PTH112  Path raises for names too long
        return [source]
    return list_images([source])


def write_list(sources: Sequence[str], file: Path) -> None:
    """Write what `list_images` lists, one JSON string a line: names may hold anything.

    Nothing is written where `list_images` raises UserError.
    """
    paths = list_images(sources)
    with disk.atomic_write(file) as tmp, tmp.open("w", encoding="ascii") as lines:
        lines.writelines(json.dumps(path) + "\n" for path in paths)


def extend_list(sources: Sequence[str], file: Path) -> int:
    """Add the images that sources hold by now to what `write_list` has listed; return how many."""
    known = {hash(path) for path in read_list(file, 0)}
    new = [path for path in list_images(sources) if hash(path) not in known]
    if new:
        with disk.atomic_write(file) as tmp:
            shutil.copyfile(file, tmp)
            append_list(new, tmp)
    return len(new)


def count_list(file: Path) -> int:
    """Return how many images `write_list` has listed."""
    with file.open(encoding="ascii") as lines:
        return sum(1 for _ in lines)


def read_list(file: Path, done: int) -> Iterator[str]:
    """Return the images that `write_list` has listed, without the first ones, which are done."""
    with file.open(encoding="ascii") as lines:
        for line in islice(lines, done, None):
            yield json.loads(line)


def append_list(paths: Sequence[str], file: Path) -> None:
    """Add images to what `write_list` has listed."""
    with file.open("a", encoding="ascii") as lines:
        lines.write("".join(json.dumps(path) + "\n" for path in paths))


def _non_empty(source: str) -> Iterator[str]:
    """Return the images of a source; UserError where there are none."""
    paths = _open_source(source)
    first = next(paths, None)
    if first is None:
        raise UserError(f"{source} holds no images ({', '.join(SUFFIXES)}): name another place")
    return chain([first], paths)


def _open_source(source: str) -> Iterator[str]:
    place = disk.expand_user(source)
    if source and os.path.isdir(place):  # noqa: PTH112  Path.is_dir raises for names too long
        return images_below(str(place.resolve()))
    if os.path.isfile(place):  # noqa: PTH113
        is_table = place.suffix.lower() == ".csv"
        return _from_csv(place.resolve()) if is_table else iter([str(place.resolve())])
    if glob.has_magic(source):
        matches = glob.glob(str(place), recursive=True)  # noqa: PTH207  Path.glob wants relative ones
        return (os.path.abspath(path) for path in sorted(matches) if _is_image(path))  # noqa: PTH100
    shown = source if source.isprintable() and source.strip() else repr(source)
    raise UserError(f"{shown} is no file, no folder, and no pattern: correct it")


def images_below(folder: str) -> Iterator[str]:
    """List the images of a folder and all below it, by name, without hidden ones.

    Linked folders are not followed. Raises UserError if a folder cannot be listed; one below it
    that has gone meanwhile holds none.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted((one.name, one.is_dir(follow_symlinks=False)) for one in entries)
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error}): give yourself access") from error
    for name, is_folder in names:
        path = os.path.join(folder, name)  # noqa: PTH118  there may be millions
        if HIDDEN.match(name):
            continue
        if is_folder and os.path.isdir(path):  # noqa: PTH112
            yield from images_below(path)
        elif not is_folder and _is_image(name):
            yield path


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _from_csv(table: Path) -> Iterator[str]:
    wrong = f"{table} is no CSV file in UTF-8"
    with table.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        header = lines.readline()
        separator = csv_separator(header)
        try:
            columns = [
                name.strip().lower() for name in next(csv.reader([header], delimiter=separator))
            ]
            if PATH_COLUMN not in columns:
                raise UserError(
                    f"{table} has no column {PATH_COLUMN!r}: name the column of paths so"
                )
            rows = csv.DictReader(lines, columns, delimiter=separator)
            for row in rows:
                if not row[PATH_COLUMN]:
                    raise UserError(f"{table} has no path in line {rows.line_num + 1}: fill it in")
                path = str(table.parent / row[PATH_COLUMN])
                if not _is_text(path) and not os.path.exists(path):  # noqa: PTH110
                    raise UserError(f"{wrong} (line {rows.line_num + 1}): save it as one")
                yield path
        except csv.Error as error:
            raise UserError(f"{wrong} ({error}): save it as one") from error


def _is_text(path: str) -> bool:
    """Tell whether a path is valid Unicode, which not all names of files are."""
    return path.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in path)
