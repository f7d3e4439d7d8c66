"""Where things lie, and how they are written."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
DATA = ROOT / "data"
OUTPUTS = ROOT / "outputs"
SYNTHETIC = "SYNTHETIC.txt"  # labels what comes from drawn images


class UserError(ValueError):
    """A mistake that the user can mend: its text names the file and the cure."""

    def _render_traceback_(self) -> list[str]:
        """Have notebooks show the sentence alone (an IPython convention)."""
        return [str(self)]


def run_folder(run: str | Path) -> Path:
    """Return the folder of a run, made if missing: a name below `outputs/`, or a path.

    Raises UserError for a name that would not be a folder of its own there.
    """
    name = Path(run)
    if not name.name or ".." in name.parts:
        raise UserError(f"{str(run)!r} is no name for a run: use one word, such as custom_cnn")
    folder = OUTPUTS / name
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    return folder


def require(path: Path, made_by: str) -> Path:
    """Return `path`, or raise UserError that names what writes it."""
    if not path.exists():
        raise UserError(f"{path} is missing: run {made_by} for this run first")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and rename it to `path` if all went well.

    The name's end is kept, since libraries choose the format by it.
    """
    beside = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def mark_synthetic(run: Path, reason: str | None) -> None:
    """Label a run as SYNTHETIC with the reason, or take the label away (None).

    Tables, JSON files and figures written into a labelled run carry the label.
    """
    label = run / SYNTHETIC
    if reason is None:
        label.unlink(missing_ok=True)
    else:
        label.write_text(f"SYNTHETIC images: {reason}\n", encoding="utf-8")


def is_synthetic(folder: Path) -> bool:
    """Tell whether a run's folder, or a folder anywhere in it, is labelled as SYNTHETIC."""
    return any((place / SYNTHETIC).exists() for place in (folder, *folder.parents))


def write_json(content: dict, path: Path) -> None:
    """Write a dictionary as indented JSON, with a notice in a SYNTHETIC run."""
    if is_synthetic(path.parent):
        content = {"notice": "SYNTHETIC images: no statement about steel", **content}
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, made_by: str) -> dict:
    """Read a JSON file, or raise UserError that names what writes it."""
    try:
        return json.loads(require(path, made_by).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON ({error}): run {made_by} again") from error


def read_csv(file: Path):
    """Read a table of images as a pandas DataFrame: classes stay words, also `01` and `NA`."""
    import pandas as pd

    words = dict.fromkeys(("path", "label", "predicted", "sha256", "part", "boxes"), str)
    return pd.read_csv(file, dtype=words, keep_default_na=False)


def write_csv(table, path: Path) -> None:
    """Write a pandas DataFrame as CSV, without its index, with a notice in a SYNTHETIC run."""
    if is_synthetic(path.parent):
        table = table.assign(notice="SYNTHETIC")
    with replacing(path) as beside:
        table.to_csv(beside, index=False)
