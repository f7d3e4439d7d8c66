"""Batch inspection: predict any number of images into one table, and resume when interrupted."""

import csv
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from operator import or_
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from tqdm.auto import tqdm

from nbutils import disk, runs
from nbutils.data import bit_depth, image_list
from nbutils.data.images import (
    SAMPLE,
    ImageError,
    common_bit_depth,
    decode,
    image_statistics,
    read_file,
)
from nbutils.disk import UserError, disk_errors
from nbutils.inference import resumption
from nbutils.inference.prediction import (
    DEFECT_COLUMNS,
    N_DEFECTS,
    Prediction,
    error_row,
    row_columns,
)
from nbutils.inference.predictor import Predictor, load_predictor
from nbutils.runtime import batched, parallel_map, usable_cores
from nbutils.uncertainty import drift

CHUNK = 64  # images that a worker takes at once


def inspect(
    sources: Sequence[str],
    folder: Path,
    model: str | Path,
    backend: str | None = None,
    scheduler: str = "",
    processes: int | None = None,
    bits: int | None = None,
    scale: float = 1.0,
) -> Path:
    """Predict all images of some sources (`image_list.list_images`) into `inspections.csv`.

    Started again with the same sources and model, it goes on after the last whole row; a damaged
    row and those after it are predicted again. Chunks are read, predicted and written one after
    another, so memory hardly grows with the number of images. Where a source goes away meanwhile,
    as that of a network may, it stops before images that it cannot read count as done.
    See `load_predictor` for model, backend and scale, `parallel_map` for scheduler and processes.
    The bit depth of 16-bit files is `bits`, else that of the model's training images, else that of
    the set (`images.common_bit_depth`).

    Returns the table's path. Its rows are in the order of the list, its columns `table_columns`,
    and a notice in a SYNTHETIC run. Raises UserError if there is no such source or model, the
    folder holds another inspection, or another process writes into it.
    """
    method = resumption.find_method(model, backend, bits, scale)
    columns = table_columns(method.classes, runs.is_synthetic(folder))
    is_new = not folder.exists()
    with disk.locked(folder), disk_errors(folder):
        try:
            facts = resumption.start_or_resume(sources, folder, method)
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
    listed = folder / runs.IMAGE_LIST
    done, total = resumption.resume(folder, columns), image_list.count_list(listed)
    if done == total:
        print(f"All {total} images of the list are inspected: remove {folder} to start anew")
        return
    bits = facts["bit_depth"] or facts.get("read_as_bits") or _bits_of_set(listed, total)
    facts = facts | {"read_as_bits": bits}
    runs.write_json(facts, folder / runs.INSPECTION)  # what comes later is read alike
    chunks = batched(image_list.read_list(listed, done), CHUNK)
    processes = min(processes or usable_cores(), -(-(total - done) // CHUNK))
    start = time.perf_counter()
    results = parallel_map(chunk_predictor(facts, bits), chunks, scheduler, processes)
    bar = tqdm(total=total, initial=done, desc="Inspecting", unit="image")
    with bar:
        for count in append(_present(results, folder), folder, columns):
            bar.update(count)
    seconds = round(time.perf_counter() - start, 2)
    facts = facts | {"images": total - done, "seconds": seconds}
    runs.write_json(facts, folder / runs.INSPECTION)


def _present(results: Iterable[list[dict]], folder: Path) -> Iterator[list[dict]]:
    """Pass the rows of chunks on; UserError where a file is missing with all that was beside it."""
    for rows in results:
        for row in rows:
            place = os.path.dirname(row["path"])  # noqa: PTH120
            if row["error"] and not os.path.exists(row["path"]) and _is_empty(place):  # noqa: PTH110
                raise UserError(
                    f"{place} is away or empty: run the same command again when its images are "
                    f"back, or remove {folder} to start anew"
                )
        yield rows


def _is_empty(folder: str) -> bool:
    """Tell whether a folder holds nothing, or cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return True


def chunk_predictor(facts: dict[str, Any], bits: int | None) -> Callable[[Sequence[str]], list]:
    """Return what predicts files by the model and at the scale that an inspection names."""
    version = hashlib.sha256(repr(facts["files"]).encode()).hexdigest()
    model = Path(facts["model"]), facts["backend"], facts["scale"], version
    return partial(predict_chunk, model, bits)


def table_columns(classes: Sequence[str], synthetic: bool = False) -> list[str]:
    """Return the columns of `inspections.csv`.

    They are `row_columns`, the number of defects, sha256, `drift.PER_IMAGE`, and a notice for
    SYNTHETIC images.
    """
    notice = [resumption.NOTICE] if synthetic else []
    return [*row_columns(classes), N_DEFECTS, "sha256", *drift.PER_IMAGE, *notice]


@lru_cache(maxsize=1)
def _loaded(
    model: Path, backend: str, scale: float, version: str
) -> tuple[Predictor, drift.ReferenceStatistics | None]:
    return load_predictor(model, backend, scale), drift.load_reference(model)


def predict_chunk(
    model: tuple[Path, str, float, str], bits: int | None, paths: Sequence[str]
) -> list[dict]:
    """Predict files by a model that a worker loads once; return a row of the table for each.

    A model is its folder, backend, scale and version: by the last, the digest of its files, a
    worker that stays loads a model that has changed.
    """
    predictor, reference = _loaded(*model)
    files: list[tuple[str, str]] = []  # digest and error of each

    def grays() -> Iterator[np.ndarray]:
        for path in paths:
            gray, digest, error = _read(path, bits)
            files.append((digest, error))
            if gray is not None:
                yield gray

    predictions, values = predict_and_describe(predictor, grays(), reference)
    readable = zip(predictions, values.tolist(), strict=True)
    rows: list[dict[str, Any]] = []
    for path, (digest, error) in zip(paths, files, strict=True):
        if error:
            row: dict[str, Any] = dict(error_row(path, error, predictor.classes))
        else:
            prediction, descriptors = next(readable)
            row = prediction.to_row(path) | dict(zip(drift.PER_IMAGE, descriptors, strict=True))
            row[N_DEFECTS] = prediction.defect_rows(path)
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
    projected = drift.project(np.array(embeddings, np.float32), reference)
    return predictions, np.hstack([table, projected])


def _read(path: str, bits: int | None) -> tuple[np.ndarray | None, str, str]:
    """Return a file's gray values (None if it cannot be read), SHA-256 and error."""
    digest = ""
    try:
        data = [read_file(path)]
        digest = hashlib.sha256(data[0]).hexdigest()
        return decode(data.pop(), path, bits), digest, ""  # which lets the bytes go
    except ImageError as error:
        return None, digest, str(error)


def _bits_of_set(listed: Path, total: int) -> int | None:
    """Return the bit depth of the 16-bit images of a list, and print what was decided."""
    step = max(total // SAMPLE, 1)
    bits = common_bit_depth(list(islice(image_list.read_list(listed, 0), 0, None, step)))
    if bits:
        print(bit_depth.describe(bits))
    return bits


def append(results: Iterable[list[dict]], folder: Path, columns: list[str]) -> Iterator[int]:
    """Write the rows of chunks as they come, and give their numbers.

    The defects of a chunk are written before its images, so that none can be missing.
    """
    table, defects = folder / runs.INSPECTIONS, folder / runs.DEFECTS
    notice = {resumption.NOTICE: "SYNTHETIC"} if resumption.NOTICE in columns else {}
    add = partial(Path.open, mode="a", newline="", encoding="utf-8")
    with disk_errors(table), add(table) as file, add(defects) as found:
        for rows in results:
            each = [defect for row in rows for defect in row.get(N_DEFECTS) or ()]
            _write(found, [*DEFECT_COLUMNS, *notice], each, notice)
            counts = ({N_DEFECTS: len(row.get(N_DEFECTS, ()))} for row in rows)
            _write(file, columns, map(or_, rows, counts), notice)
            yield len(rows)


def _write(file: TextIO, columns: Sequence[str], rows: Iterable[dict], notice: dict) -> None:
    writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
    writer.writerows({name: resumption.cell(row[name]) for name in row} | notice for row in rows)
    file.flush()
