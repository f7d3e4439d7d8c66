"""A folder that is inspected as images arrive in it."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nbutils import disk, runs
from nbutils.data import image_list
from nbutils.disk import UserError, disk_errors
from nbutils.inference import batch, resumption
from nbutils.runtime import batched

PAUSE = 2.0  # seconds between two looks at the folder
Signature = tuple[int, int]  # size in bytes, and time of the last change, of a file


def watch(
    source: str,
    folder: Path,
    model: str | Path,
    backend: str | None = None,
    bits: int | None = None,
    scale: float = 1.0,
) -> Iterator[int]:
    """Inspect the images of a folder as they arrive, into the tables of `batch.inspect`.

    A file is taken once it has not changed between two looks, and once only. Started again with
    the same folder and model, it goes on. Gives how many images were added, after each chunk, and
    0 after a look at which there were none; ends never. A folder that cannot be listed for a while
    is waited for, and a file that is away when it is read is taken when it is back. Raises
    UserError as `batch.inspect` does.
    """
    method = resumption.find_method(model, backend, bits, scale)
    columns = batch.table_columns(method.classes, runs.is_synthetic(folder))
    with disk.locked(folder), disk_errors(folder):
        facts = resumption.start_or_resume([source], folder, method, watched=True)
        predict = batch.chunk_predictor(facts, method.bits)
        listed = folder / runs.IMAGE_LIST
        known = _known(listed, resumption.resume(folder, columns))
        looks = _looks(disk.expand_user(source).resolve(), known)
        yield 0
        for paths in looks:
            if not paths:
                yield 0
            rows = _predict_new(paths, predict, listed, known)
            yield from batch.append(rows, folder, columns)


def _predict_new(
    paths: Sequence[str], predict: Callable, listed: Path, known: set[str]
) -> Iterator[list[dict]]:
    """Predict new images, chunk by chunk, and list those that were still there."""
    for chunk in batched(paths, batch.CHUNK):
        rows = [row for row in predict(chunk) if not row["error"] or os.path.exists(row["path"])]  # noqa: PTH110
        present = [row["path"] for row in rows]
        image_list.append_list(present, listed)
        known.update(present)
        yield rows


def _known(listed: Path, done: int) -> set[str]:
    """Return the first images of a list, which have rows; the others are looked for again."""
    with listed.open("rb+") as lines:
        size = sum(len(lines.readline()) for _ in range(done))
        lines.truncate(size)
    return set(image_list.read_list(listed, 0))


def _looks(folder: Path, known: set[str]) -> Iterator[list[str]]:
    """Give, look after look, the images not known yet that have not changed since the last one.

    A folder of a network may be away for a while: that is said once.
    """
    before: dict[str, Signature] = {}
    is_away = False
    while True:
        time.sleep(PAUSE)
        try:
            now = _arriving(folder, known)
        except UserError as error:
            if not is_away:
                print(f"{error}; it is looked at again every {PAUSE:.0f} seconds", flush=True)
            is_away = True
            yield []
            continue
        is_away = False
        settled = [path for path, sign in now.items() if before.get(path) == sign]
        before = now
        yield settled


def _arriving(folder: Path, known: set[str]) -> dict[str, Signature]:
    """Return the images of a folder that are not known yet and have begun to be written."""
    signatures = {}
    for path in image_list.images_below(str(folder)):
        if path not in known:
            try:
                status = os.stat(path)  # noqa: PTH116  there may be millions
            except OSError:
                continue  # moved on, or its server is away
            if status.st_size:
                signatures[path] = (status.st_size, status.st_mtime_ns)
    return signatures
