"""Judge any number of images into one table, in order, and go on after an interruption."""

import csv
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from nbutils import drift, paths, worklist
from nbutils.images import ImageError, to_array
from nbutils.paths import UserError
from nbutils.predict import BACKENDS, find_model, load_predictor
from nbutils.predictor import Prediction, Predictor

CHUNK = 64  # images that a worker takes at once
TABLE, LIST, FACTS = "inspections.csv", "images.txt", "inspection.json"
Map = Callable[[Callable, Iterable], Iterator]  # results in order, as those of `workers`


def inspect(source: str, run: Path, model: str, backend: str, workers: Map) -> Path:
    """Judge all images of a source into `inspections.csv` of a run.

    Started again with the same source and model, it goes on after the last whole row. Chunks are
    read, judged and written one after another, so memory hardly grows with the number of images.

    Parameters
    ----------
    source
        As `worklist.find` takes it; listed to `images.txt` at the start.
    run
        Folder of the inspection.
    model, backend
        As `load_predictor` takes them.
    workers
        Applies a function to chunks, as `workers.started` gives it.

    Returns
    -------
    The table, in the order of the list: path, sha256 (of the file), label, confidence, candidates,
    novelty, verdict, reasons, a probability for each class, what `drift.DESCRIBED` names, error;
    and a notice in a SYNTHETIC run.
    """
    folder = find_model(model).resolve()
    predictor = load_predictor(folder, backend)
    weights = _begin(source, run, folder, backend)
    marks = {"notice": "SYNTHETIC"} if paths.is_synthetic(run) else {}
    columns = [*_columns(predictor), *marks]
    done = _whole_rows(run / TABLE, columns)
    chunks = _chunks(worklist.read(run / LIST, done))
    total, start = worklist.count(run / LIST), time.perf_counter()
    if done == total:
        print(f"All {total} images of the list are inspected: remove {run} to list and judge anew")
    bar = tqdm(total=total, initial=done, desc="Inspecting", unit="image")
    with bar, (run / TABLE).open("a", newline="", encoding="utf-8") as file:
        for rows in workers(Task(folder, backend, weights), chunks):
            csv.writer(file, lineterminator="\n").writerows([*row, *marks.values()] for row in rows)
            file.flush()
            bar.update(len(rows))
    if total > done:
        seconds = time.perf_counter() - start
        facts = paths.read_json(run / FACTS, "08_batch_inspection")
        paths.write_json(
            facts | {"images": total - done, "seconds": round(seconds, 2)}, run / FACTS
        )
    return run / TABLE


class Task:
    """What a worker does with a chunk: judge its files by a model that it loads once.

    The digest of the weights tells a worker that stays that a model was trained again.
    """

    def __init__(self, folder: Path, backend: str, weights: str):
        self.model = folder, backend, weights

    def __call__(self, names: Sequence[str]) -> list[list]:
        """Return a row for each file."""
        predictor, usual = _loaded(*self.model)
        return judge(predictor, names, usual)


@lru_cache(maxsize=1)
def _loaded(folder: Path, backend: str, weights: str) -> tuple[Predictor, drift.Usual | None]:
    return load_predictor(folder, backend), drift.load(folder)


def judge(predictor: Predictor, names: Sequence[str], usual: drift.Usual | None) -> list[list]:
    """Judge files; return a row of the table for each, with its error where it has one."""
    digests, errors, lights = {}, {}, []

    def squares() -> Iterator[np.ndarray]:
        for name in names:
            try:
                data = Path(name).read_bytes()
                digests[name] = hashlib.sha256(data).hexdigest()
                square = to_array(data, predictor.size, name)
            except (ImageError, OSError, ValueError) as error:
                errors[name] = str(error)
                continue
            lights.append(drift.light(square))
            yield square

    raw, embeddings = predictor.answers(squares())
    bright = np.array(lights, float).reshape(-1, len(drift.LIGHT))
    described = np.hstack([bright, drift.project(embeddings, usual)])
    good = zip(predictor.told(raw, embeddings), described.tolist(), strict=True)
    empty = [""] * (len(_FACTS) + len(predictor.classes) + len(drift.DESCRIBED))
    rows = []
    for name in names:
        values = empty if name in errors else _values(*next(good))
        words = [name, digests.get(name, ""), *values, errors.get(name, "")]
        rows.append([_one_line(word) if isinstance(word, str) else word for word in words])
    return rows


_FACTS = ["label", "confidence", "candidates", "novelty", "verdict", "reasons"]


def _columns(predictor: Predictor) -> list[str]:
    chances = [f"p_{label}" for label in predictor.classes]
    return ["path", "sha256", *_FACTS, *chances, *drift.DESCRIBED, "error"]


def _values(found: Prediction, described: list[float]) -> list:
    chances = [f"{chance:.6g}" for chance in found.probabilities.values()]
    return [
        found.label, f"{found.confidence:.6g}", ";".join(found.candidates),
        f"{found.novelty:.6g}", found.verdict, "; ".join(found.reasons), *chances,
        *(f"{value:.5g}" for value in described),
    ]  # fmt: skip


def _one_line(text: str) -> str:
    """Return text that is one line of valid UTF-8, whatever a file's name holds."""
    return " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines())


def _begin(source: str, run: Path, folder: Path, backend: str) -> str:
    """Write what is inspected, and by which model, and return the digest of its weights.

    Raises UserError rather than mix it with another inspection.
    """
    weights = hashlib.sha256((folder / BACKENDS[backend][0]).read_bytes()).hexdigest()
    facts = {
        "source": str(Path(source).expanduser().absolute()),
        "model": str(folder),
        "backend": backend,
        "weights": weights,
    }
    if (run / FACTS).exists():
        before = paths.read_json(run / FACTS, "08_batch_inspection")
        if any(before.get(key) != value for key, value in facts.items()):
            raise UserError(
                f"{run} holds an inspection of {before.get('source')} by {before.get('model')} "
                f"({before.get('backend')}): choose another RUN, or remove that folder"
            )
        return weights
    run.mkdir(parents=True, exist_ok=True)
    worklist.write(source, run / LIST)
    (run / TABLE).unlink(missing_ok=True)
    paths.write_json(facts, run / FACTS)
    return weights


def _whole_rows(file: Path, columns: list[str]) -> int:
    """Return how many whole rows a table has; cut off a row that was being written."""
    if not file.exists():
        file.write_text(",".join(columns) + "\n", encoding="utf-8")
        return 0
    with file.open("rb+") as lines:
        whole, rows = 0, 0
        for line in lines:
            if line.endswith(b"\n"):
                whole, rows = whole + len(line), rows + 1
        lines.truncate(whole)
    if not rows:
        file.unlink()
        return _whole_rows(file, columns)
    return rows - 1


def _chunks(names: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(islice(names, CHUNK)):
        yield chunk
