"""What makes a batch inspection resume: its facts, its list, and the rows that are whole."""

import csv
import io
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nbutils import disk, runs
from nbutils.artefacts import read_card
from nbutils.data import bit_depth, image_list
from nbutils.disk import UserError
from nbutils.inference import windows
from nbutils.inference.prediction import DEFECT_COLUMNS, N_DEFECTS
from nbutils.inference.predictor import BACKENDS, find_backend

NOTICE = "notice"  # column of a SYNTHETIC run
DECISIONS = ("accept", "review")
LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class Method(NamedTuple):
    """How images are inspected."""

    model: Path
    backend: str
    bits: int | None  # of 16-bit files; None for those of the set
    scale: float
    classes: list[str]


def find_method(model: str | Path, backend: str | None, bits: int | None, scale: float) -> Method:
    """Find a model and its backend, and check how images are read; UserError if that is wrong.

    The bit depth is by default that of the model's training images.
    """
    place = runs.find_model(model).resolve()
    backend, card = find_backend(place, backend), read_card(place)
    bit_depth.check(bits)
    scale = windows.check_scale(scale, card)
    return Method(place, backend, bits or card.get("bit_depth"), scale, card["classes"])


def start_or_resume(
    sources: Sequence[str], folder: Path, method: Method, watched: bool = False
) -> dict[str, Any]:
    """Write what is inspected and by which files of a model, and return it.

    The list of a watched folder begins empty, and grows; others grow by the images that have come
    into their sources since. Raises UserError rather than mix an inspection with another.
    """
    deciding = (BACKENDS[method.backend], runs.MODEL_CARD, runs.REVIEW, runs.NOVELTY, runs.DRIFT)
    facts: dict[str, Any] = {
        "sources": [str(disk.expand_user(source).absolute()) for source in sources],
        "model": str(method.model),
        "backend": method.backend,
        "bit_depth": method.bits,
        "scale": method.scale,
        "watched": watched,
        "files": {
            name: disk.digest(file) for name in deciding if (file := method.model / name).exists()
        },
    }
    if not (folder / runs.INSPECTION).exists():
        return _begin(facts, sources, folder)
    facts = _check_same(facts, folder)
    listed = folder / runs.IMAGE_LIST
    if not watched and (new := image_list.extend_list(sources, listed)):
        print(f"New images that are inspected as well: {new}")
    return facts


def _begin(facts: dict[str, Any], sources: Sequence[str], folder: Path) -> dict[str, Any]:
    """Write the list of a new inspection, and then its facts, which are returned."""
    listed = folder / runs.IMAGE_LIST
    if facts["watched"]:
        listed.write_bytes(b"")
    else:
        image_list.write_list(sources, listed)
    (folder / runs.INSPECTIONS).unlink(missing_ok=True)
    size = listed.stat().st_size
    facts = facts | {"listed": size, "list": disk.digest(listed, size)}
    runs.write_json(facts, folder / runs.INSPECTION)
    return facts


def forget(source: str, folder: Path) -> None:
    """Have the inspection of a source start anew; one of another source stays as it is."""
    file = folder / runs.INSPECTION
    if file.exists():
        named = [str(disk.expand_user(source).absolute())]
        if runs.read_json(file).get("sources") == named:
            file.unlink()


def _check_same(facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what a folder holds of an inspection; UserError unless it has the same facts."""
    cure = "name another run, or remove that folder"
    try:
        before = {"scale": 1.0, **runs.read_json(folder / runs.INSPECTION)}
    except UserError as error:
        raise UserError(
            f"{folder} holds an inspection that is damaged ({error}): {cure}"
        ) from error
    if different := _differences(facts, before):
        raise UserError(f"{folder} holds another inspection ({'; '.join(different)}): {cure}")
    if changed := _changed_files(facts["files"], before.get("files")):
        raise UserError(
            f"{folder} holds an inspection by {facts['model']} before its "
            f"{', '.join(changed)} changed: {cure}"
        )
    listed = folder / runs.IMAGE_LIST
    size = before.get("listed")
    size = size if isinstance(size, int) and size >= 0 else None
    if not listed.exists() or disk.digest(listed, size) != before.get("list"):
        raise UserError(f"{listed} is not the list that was written: remove {folder} to start anew")
    return before


def _differences(facts: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Say in what two inspections differ, but for the content of files."""
    return [
        f"{key.replace('_', ' ')} {_show(before.get(key))} there, {_show(value)} here"
        for key, value in facts.items()
        if key != "files" and before.get(key) != value
    ]


def _changed_files(files: dict[str, str], before: Any) -> list[str]:
    """Return the names of a model's files whose digests are not what they were."""
    known = before if isinstance(before, dict) else {}
    return sorted(name for name in files | known if known.get(name) != files.get(name))


def _show(value: Any) -> str:
    """Return a fact of an inspection in words."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "of the files" if value is None else str(value)


def resume(folder: Path, columns: list[str]) -> int:
    """Return how many images of the list are done, and cut off what was being written of others."""
    table = folder / runs.INSPECTIONS
    done = _whole_rows(table, columns, folder / runs.IMAGE_LIST)
    names = [*DEFECT_COLUMNS, *([NOTICE] if NOTICE in columns else [])]
    _resume_defects(folder / runs.DEFECTS, table, done, names)
    return done


def _resume_defects(file: Path, table: Path, done: int, columns: Sequence[str]) -> None:
    """Keep the defects of the first images of `inspections.csv`, which are done, and no more.

    The defects of an image are written before its row, so none of these can be missing, unless
    the file was changed; that raises UserError.
    """
    with table.open(newline="", encoding="utf-8") as lines:
        expected = sum(int(row[N_DEFECTS] or 0) for row in islice(csv.DictReader(lines), done))
    header = (",".join(columns) + "\n").encode()
    file.touch()
    with file.open("rb+") as content:
        kept = [line for line in islice(content, 1 + expected) if line.endswith(b"\n")]
        if kept[:1] == [header] and len(kept) == 1 + expected:
            content.truncate(sum(map(len, kept)))
            return
        if expected:
            raise UserError(f"{file} lacks defects of {table.name}: remove {file.parent}")
        content.seek(0)
        content.write(header)
        content.truncate()


def _whole_rows(table: Path, columns: list[str], listed: Path) -> int:
    """Return how many rows of a table are whole and in the order of the list; cut off the others.

    Without a whole header, the table begins anew.
    """
    if not table.exists():
        table.touch()
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(columns)
    with table.open("rb+") as lines:
        whole, rows = 0, 0
        if lines.readline() == header.getvalue().encode():
            whole = len(header.getvalue().encode())
            for line, path in zip(lines, image_list.read_list(listed, 0), strict=False):
                if not _is_row(line, columns, path):
                    break
                whole, rows = whole + len(line), rows + 1
        if table.stat().st_size > whole:
            print(f"{table} is damaged after row {rows}: it is inspected again from there")
            lines.truncate(whole)
    if not whole:
        table.write_text(header.getvalue(), encoding="utf-8")
    return rows


def _is_row(line: bytes, columns: list[str], path: str) -> bool:
    """Tell whether a line is the whole row of an image."""
    try:
        [cells] = csv.reader([line.decode("utf-8")], strict=True)
    except (ValueError, csv.Error):
        return False
    row = dict(zip(columns, cells, strict=False))
    is_whole = line.endswith(b"\n") and len(cells) == len(columns) and b"\0" not in line
    if not is_whole or row["path"] != cell(path):
        return False
    return bool(row["error"]) or (row["decision"] in DECISIONS and row[N_DEFECTS].isdigit())


def cell(value: Any) -> str:
    """Return a value as text: one line of valid UTF-8, whatever a file's name holds.

    Two names that differ are two texts.
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return LINE_ENDS.sub(lambda end: end[0].encode("unicode_escape").decode(), text)
