"""Batch inspection: predict any number of images into one table, and resume when interrupted."""

import csv
import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from nbutils import runs
from nbutils.data import image_list
from nbutils.data.images import ImageError, image_statistics, read_file, to_array
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


def inspect(
    sources: Sequence[str],
    folder: Path,
    model: str | Path,
    backend: str | None = None,
    scheduler: str = "",
    processes: int | None = None,
) -> Path:
    """Predict all images of some sources (`image_list.list_images`) into `inspections.csv`.

    Started again with the same sources and model, it goes on after the last whole row. Chunks are
    read, predicted and written one after another, so memory hardly grows with the number of images.
    See `load_predictor` for model and backend, `parallel_map` for scheduler and processes.

    Returns the table's path. Its rows are in the order of the list, its columns `table_columns`,
    and a notice in a SYNTHETIC run. Raises UserError if there is no such source or model, or the
    folder holds another inspection.
    """
    place = runs.find_model(model).resolve()
    backend = find_backend(place, backend)
    columns = table_columns(runs.read_json(place / runs.MODEL_CARD).get("classes", []))
    if runs.is_synthetic(folder):
        columns.append(NOTICE)
    weights = _start_or_resume(sources, folder, place, backend)
    table, listed = folder / runs.INSPECTIONS, folder / runs.IMAGE_LIST
    done, total = _whole_rows(table, columns), image_list.count_list(listed)
    if done == total:
        print(f"All {total} images of the list are inspected: remove {folder} to start anew")
        return table
    chunks = batched(image_list.read_list(listed, done), CHUNK)
    predict = partial(predict_chunk, place, backend, weights)
    start = time.perf_counter()
    results = parallel_map(predict, chunks, scheduler, processes)
    _append(results, table, columns, done, total)
    seconds = round(time.perf_counter() - start, 2)
    facts = runs.read_json(folder / runs.INSPECTION) | {"images": total - done, "seconds": seconds}
    runs.write_json(facts, folder / runs.INSPECTION)
    return table


def table_columns(classes: Sequence[str]) -> list[str]:
    """Return the columns of `inspections.csv`: `row_columns`, sha256 and `drift.PER_IMAGE`."""
    return [*row_columns(classes), "sha256", *drift.PER_IMAGE]


@lru_cache(maxsize=1)
def _loaded(
    model: Path, backend: str, weights: str
) -> tuple[Predictor, drift.ReferenceStatistics | None]:
    return load_predictor(model, backend), drift.load_reference(model)


def predict_chunk(model: Path, backend: str, weights: str, paths: Sequence[str]) -> list[dict]:
    """Predict files by a model that a worker loads once; return a row of the table for each.

    By the digest of its weights, a worker that stays loads a model that was trained again.
    """
    predictor, reference = _loaded(model, backend, weights)
    files: list[tuple[str, str]] = []  # digest and error of each

    def images() -> Iterator[np.ndarray]:
        for path in paths:
            image, digest, error = _read(path, predictor.size)
            files.append((digest, error))
            if image is not None:
                yield image

    predictions, values = predict_and_describe(predictor, images(), reference)
    readable = zip(predictions, values.tolist(), strict=True)
    rows = []
    for path, (digest, error) in zip(paths, files, strict=True):
        if error:
            row = error_row(path, error, predictor.classes)
        else:
            prediction, descriptors = next(readable)
            row = prediction.to_row(path) | dict(zip(drift.PER_IMAGE, descriptors, strict=True))
        rows.append(row | {"sha256": digest})
    return rows


def predict_and_describe(
    predictor: Predictor,
    images: Iterable[np.ndarray],
    reference: drift.ReferenceStatistics | None,
) -> tuple[list[Prediction], np.ndarray]:
    """Predict images, uint8 (size, size, 1) each; return also their `drift.PER_IMAGE`, a row each.

    Directions are missing without a reference.
    """
    statistics = []

    def measured() -> Iterator[np.ndarray]:
        for image in images:
            statistics.append(image_statistics(image))
            yield image

    probabilities, embeddings = predictor.forward(measured())
    table = np.array(statistics, float).reshape(-1, len(drift.IMAGE_STATISTICS))
    values = np.hstack([table, drift.project(embeddings, reference)])
    return predictor.to_predictions(probabilities, embeddings), values


def _read(path: str, size: int) -> tuple[np.ndarray | None, str, str]:
    """Return a file's image (None if it cannot be read), SHA-256 and error."""
    digest = ""
    try:
        data = read_file(path)
        digest = hashlib.sha256(data).hexdigest()
        return to_array(data, size, path), digest, ""
    except ImageError as error:
        return None, digest, str(error)


def _append(
    results: Iterator[list[dict]], table: Path, columns: list[str], done: int, total: int
) -> None:
    """Write rows as they come, chunk by chunk."""
    bar = tqdm(total=total, initial=done, desc="Inspecting", unit="image")
    notice = {NOTICE: "SYNTHETIC"} if NOTICE in columns else {}
    with bar, table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", restval="")
        for rows in results:
            for row in rows:
                writer.writerow({name: _cell(value) for name, value in row.items()} | notice)
            file.flush()
            bar.update(len(rows))


def _cell(value: Any) -> str:
    """Return a value as text: one line of valid UTF-8, whatever a file's name holds."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return " ".join(str(value).encode("utf-8", "backslashreplace").decode().splitlines())


def _start_or_resume(sources: Sequence[str], folder: Path, model: Path, backend: str) -> str:
    """Write what is inspected, and by which model, and return the digest of its weights.

    Raises UserError rather than mix it with another inspection.
    """
    weights = hashlib.sha256((model / BACKENDS[backend]).read_bytes()).hexdigest()
    facts = {
        "sources": [str(Path(source).expanduser().absolute()) for source in sources],
        "model": str(model),
        "backend": backend,
        "weights": weights,
    }
    if not (folder / runs.INSPECTION).exists():
        _write_list(sources, folder)
        (folder / runs.INSPECTIONS).unlink(missing_ok=True)
        runs.write_json(facts, folder / runs.INSPECTION)
        return weights
    before = runs.read_json(folder / runs.INSPECTION)
    if any(before.get(key) != value for key, value in facts.items()):
        raise UserError(
            f"{folder} holds an inspection of {', '.join(before.get('sources', []))} by "
            f"{before.get('model')} ({before.get('backend')}): choose another RUN, or remove "
            "that folder"
        )
    return weights


def _write_list(sources: Sequence[str], folder: Path) -> None:
    """List the images of sources; where there are none, leave no folder behind."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        image_list.write_list(sources, folder / runs.IMAGE_LIST)
    except UserError:
        if is_new:
            folder.rmdir()
        raise


def _whole_rows(table: Path, columns: list[str]) -> int:
    """Return how many whole rows a table has; cut off a row that was being written."""
    table.touch()
    with table.open("rb+") as lines:
        whole, rows = 0, 0
        for line in lines:
            if line.endswith(b"\n"):
                whole, rows = whole + len(line), rows + 1
        lines.truncate(whole)
    if rows:
        return rows - 1
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerow(columns)
    return 0
