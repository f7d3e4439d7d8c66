"""Batch inspection: predict any number of images into one table, and resume when interrupted."""

import csv
import hashlib
import io
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from operator import or_
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm.auto import tqdm

from nbutils import disk, runs
from nbutils.artefacts import read_card
from nbutils.data import bit_depth, image_list
from nbutils.data.images import (
    SAMPLE,
    ImageError,
    common_bit_depth,
    decode,
    image_statistics,
    read_file,
)
from nbutils.disk import disk_errors
from nbutils.inference import defect_table
from nbutils.inference.predictor import (
    BACKENDS,
    Prediction,
    Predictor,
    batched,
    error_row,
    find_backend,
    load_predictor,
    row_columns,
)
from nbutils.runs import UserError
from nbutils.runtime import parallel_map
from nbutils.uncertainty import drift

CHUNK = 64  # images that a worker takes at once
NOTICE = "notice"  # column of a SYNTHETIC run
DECISIONS = ("accept", "review")


def inspect(
    sources: Sequence[str],
    folder: Path,
    model: str | Path,
    backend: str | None = None,
    scheduler: str = "",
    processes: int | None = None,
    bits: int | None = None,
) -> Path:
    """Predict all images of some sources (`image_list.list_images`) into `inspections.csv`.

    Started again with the same sources and model, it goes on after the last whole row; a damaged
    row and those after it are predicted again. Chunks are read, predicted and written one after
    another, so memory hardly grows with the number of images.
    See `load_predictor` for model and backend, `parallel_map` for scheduler and processes. The bit
    depth of 16-bit files is `bits`, else that of the set (`images.common_bit_depth`).

    Returns the table's path. Its rows are in the order of the list, its columns `table_columns`,
    and a notice in a SYNTHETIC run. Raises UserError if there is no such source or model, the
    folder holds another inspection, or another process writes into it.
    """
    place = runs.find_model(model).resolve()
    backend = find_backend(place, backend)
    columns = table_columns(read_card(place)["classes"])
    if runs.is_synthetic(folder):
        columns.append(NOTICE)
    bit_depth.check(bits)
    is_new = not folder.exists()
    with disk.locked(folder), disk_errors(folder):
        try:
            facts = _start_or_resume(sources, folder, place, backend, bits)
        except UserError:
            if is_new:
                shutil.rmtree(folder)
            raise
        _inspect(folder, columns, facts, scheduler, processes)
    return folder / runs.INSPECTIONS


def _inspect(
    folder: Path, columns: list[str], facts: dict, scheduler: str, processes: int | None
) -> None:
    """Predict the images of the list that have no whole row yet."""
    table, listed = folder / runs.INSPECTIONS, folder / runs.IMAGE_LIST
    done, total = _whole_rows(table, columns, listed), image_list.count_list(listed)
    if done == total:
        print(f"All {total} images of the list are inspected: remove {folder} to start anew")
        return
    bits = facts["bit_depth"] or _bits_of_set(listed, total)
    chunks = batched(image_list.read_list(listed, done), CHUNK)
    version = hashlib.sha256(repr(facts["files"]).encode()).hexdigest()
    predict = partial(predict_chunk, Path(facts["model"]), facts["backend"], version, bits)
    start = time.perf_counter()
    results = parallel_map(predict, chunks, scheduler, processes)
    _append(results, table, columns, done, total)
    seconds = round(time.perf_counter() - start, 2)
    facts = facts | {"read_as_bits": bits, "images": total - done, "seconds": seconds}
    runs.write_json(facts, folder / runs.INSPECTION)


def table_columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of `inspections.csv`.

    They are `row_columns`, the number of defects, sha256 and `drift.PER_IMAGE`.
    """
    return [*row_columns(classes), defect_table.COUNT, "sha256", *drift.PER_IMAGE]


@lru_cache(maxsize=1)
def _loaded(
    model: Path, backend: str, version: str
) -> tuple[Predictor, drift.ReferenceStatistics | None]:
    return load_predictor(model, backend), drift.load_reference(model)


def predict_chunk(
    model: Path, backend: str, version: str, bits: int | None, paths: Sequence[str]
) -> list[dict]:
    """Predict files by a model that a worker loads once; return a row of the table for each.

    By its version, the digest of its files, a worker that stays loads a model that has changed.
    """
    predictor, reference = _loaded(model, backend, version)
    files: list[tuple[str, str]] = []  # digest and error of each

    def grays() -> Iterator[np.ndarray]:
        for path in paths:
            gray, digest, error = _read(path, bits)
            files.append((digest, error))
            if gray is not None:
                yield gray

    predictions, values = predict_and_describe(predictor, grays(), reference)
    readable = zip(predictions, values.tolist(), strict=True)
    rows = []
    for path, (digest, error) in zip(paths, files, strict=True):
        if error:
            row = error_row(path, error, predictor.classes)
        else:
            prediction, descriptors = next(readable)
            row = prediction.to_row(path) | dict(zip(drift.PER_IMAGE, descriptors, strict=True))
            row[defect_table.COUNT] = defect_table.rows_of(path, prediction.defects)
        rows.append(row | {"sha256": digest})
    return rows


def predict_and_describe(
    predictor: Predictor,
    grays: Iterable[np.ndarray],
    reference: drift.ReferenceStatistics | None,
) -> tuple[list[Prediction], np.ndarray]:
    """Predict images, uint8 (height, width) each; return also their `drift.PER_IMAGE`, a row each.

    Directions are missing without a reference.
    """
    statistics = []

    def measured() -> Iterator[np.ndarray]:
        for gray in grays:
            statistics.append(image_statistics(predictor.sample(gray)))
            yield gray

    predictions, embeddings = [], []
    for prediction, embedding in predictor.predict_and_embed(measured()):
        predictions.append(replace(prediction, defect_map=None))
        embeddings.append(embedding)
    table = np.array(statistics, float).reshape(-1, len(drift.IMAGE_STATISTICS))
    embedded = np.array(embeddings, np.float32).reshape(len(table), -1)
    return predictions, np.hstack([table, drift.project(embedded, reference)])


def _read(path: str, bits: int | None) -> tuple[np.ndarray | None, str, str]:
    """Return a file's gray values (None if it cannot be read), SHA-256 and error."""
    digest = ""
    try:
        data = read_file(path)
        digest = hashlib.sha256(data).hexdigest()
        return decode(data, path, bits), digest, ""
    except ImageError as error:
        return None, digest, str(error)


def _bits_of_set(listed: Path, total: int) -> int | None:
    """Return the bit depth of the 16-bit images of a list, and print what was decided."""
    step = max(total // SAMPLE, 1)
    bits = common_bit_depth(list(islice(image_list.read_list(listed, 0), 0, None, step)))
    if bits:
        print(bit_depth.describe(bits))
    return bits


def _append(
    results: Iterator[list[dict]], table: Path, columns: list[str], done: int, total: int
) -> None:
    """Write rows as they come, chunk by chunk: first the defects of its images, then these."""
    bar = tqdm(total=total, initial=done, desc="Inspecting", unit="image")
    notice = {NOTICE: "SYNTHETIC"} if NOTICE in columns else {}
    defects = table.with_name(runs.DEFECTS)
    names = [*defect_table.COLUMNS, *notice]
    defect_table.resume(defects, table, done, names)
    append = partial(Path.open, mode="a", newline="", encoding="utf-8")
    with bar, disk_errors(table), append(table) as file, append(defects) as found:
        for rows in results:
            each = [defect for row in rows for defect in row.get(defect_table.COUNT) or ()]
            _write(found, names, each, notice)
            counts = ({defect_table.COUNT: len(row.get(defect_table.COUNT, ()))} for row in rows)
            _write(file, columns, map(or_, rows, counts), notice)
            bar.update(len(rows))


def _write(file: TextIO, columns: Sequence[str], rows: Iterable[dict], notice: dict) -> None:
    writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
    writer.writerows({name: _cell(row[name]) for name in row} | notice for row in rows)
    file.flush()


def _cell(value: Any) -> str:
    """Return a value as text: one line of valid UTF-8, whatever a file's name holds."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).encode("utf-8", "backslashreplace").decode().splitlines())


def _start_or_resume(
    sources: Sequence[str], folder: Path, model: Path, backend: str, bits: int | None
) -> dict[str, Any]:
    """Write what is inspected and by which files of a model, and return it.

    Raises UserError rather than mix it with another inspection.
    """
    deciding = (BACKENDS[backend], runs.MODEL_CARD, runs.REVIEW, runs.NOVELTY, runs.DRIFT)
    facts = {
        "sources": [str(image_list.expand_user(source).absolute()) for source in sources],
        "model": str(model),
        "backend": backend,
        "bit_depth": bits,
        "files": {name: _digest(model / name) for name in deciding if (model / name).exists()},
    }
    if not (folder / runs.INSPECTION).exists():
        image_list.write_list(sources, folder / runs.IMAGE_LIST)
        (folder / runs.INSPECTIONS).unlink(missing_ok=True)
        facts["list"] = _digest(folder / runs.IMAGE_LIST)
        runs.write_json(facts, folder / runs.INSPECTION)
        return facts
    return _check_same(facts, folder)


def _check_same(facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return what a folder holds of an inspection; UserError unless it has the same facts."""
    cure = "choose another RUN, or remove that folder"
    try:
        before = runs.read_json(folder / runs.INSPECTION)
    except UserError as error:
        raise UserError(
            f"{folder} holds an inspection that is damaged ({error}): {cure}"
        ) from error
    files = before.get("files")
    known = files if isinstance(files, dict) else {}
    changed = [
        name
        for name in facts["files"].keys() | known.keys()
        if known.get(name) != facts["files"].get(name)
    ]
    if any(before.get(key) != value for key, value in facts.items() if key != "files"):
        raise UserError(
            f"{folder} holds an inspection of {before.get('sources')} by {before.get('model')} "
            f"({before.get('backend')}): {cure}"
        )
    if changed:
        raise UserError(
            f"{folder} holds an inspection by {facts['model']} before its "
            f"{', '.join(sorted(changed))} changed: {cure}"
        )
    listed = folder / runs.IMAGE_LIST
    if not listed.exists() or _digest(listed) != before.get("list"):
        raise UserError(f"{listed} is not the list that was written: remove {folder} to start anew")
    return before


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _whole_rows(table: Path, columns: list[str], listed: Path) -> int:
    """Return how many rows of a table are whole and in the order of the list; cut off the others.

    Without a whole header, the table begins anew.
    """
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
    if not is_whole or row["path"] != _cell(path):
        return False
    return bool(row["error"]) or (
        row["decision"] in DECISIONS and row[defect_table.COUNT].isdigit()
    )
