"""What all writing shares: errors in a sentence, whole files, one writer for each folder."""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from filelock import FileLock

ELSEWHERE = "or name another place by STEEL_HOME"
REASONS = {  # of an error of the disk that the user can mend, with the cure
    errno.ENOSPC: f"the disk is full: make room, {ELSEWHERE}",
    errno.EDQUOT: f"your quota of the disk is used up: make room, {ELSEWHERE}",
    errno.EROFS: f"the disk is read-only: make it writable, {ELSEWHERE}",
    errno.EACCES: f"access is denied: give yourself access, {ELSEWHERE}",
    errno.EPERM: f"access is denied: give yourself access, {ELSEWHERE}",
    errno.ENAMETOOLONG: "the name is too long: use a shorter one",
}
BLOCK = 2**20  # bytes that are read at once
PATIENCE = 10.0  # seconds, to wait for a file that another process changes
LOCK = ".lock"  # in a folder that one process at a time writes into
TEMPORARY = re.compile(r"\.[0-9a-f]{8}\..+")  # name of a file until it is whole
_held: dict[Path, "FileLock"] = {}  # locks of this process


class UserError(ValueError):
    """A mistake that the user can mend: its text names the file and the cure."""

    def __init__(self, text: object = ""):
        super().__init__(printable(str(text)))

    def _render_traceback_(self) -> list[str]:
        """Have notebooks show the sentence alone (an IPython convention)."""
        return [str(self)]


def printable(text: str) -> str:
    """Return text that any stream takes: bytes of a name that is not in UTF-8 become marks."""
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def describe_error(error: OSError | RuntimeError, path: str | Path) -> str:
    """Return an error of the disk with its cure, of `path` where it names none; empty for others.

    HDF5 gives the number of an error in its text, and some as RuntimeError.
    """
    named = re.search(r"errno = (\d+)", str(error))
    number = getattr(error, "errno", None) or (int(named[1]) if named else 0)
    name = getattr(error, "filename", None)
    file = os.fsdecode(name) if isinstance(name, str | bytes) else ""
    shown = path if not file or TEMPORARY.fullmatch(Path(file).name) else file
    return f"{shown}: {REASONS[number]}" if number in REASONS else ""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a full, read-only or closed disk raises about `path` into UserError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        sentence = describe_error(error, path)
        if sentence:
            raise UserError(sentence) from error
        raise


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` if all went well.

    The name's end is kept, since libraries choose the format by it. A missing folder is made.
    """
    tmp = path.with_name(f".{uuid4().hex[:8]}.{path.name}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield tmp
            tmp.replace(path)
        finally:
            tmp.unlink(missing_ok=True)


def digest(file: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first bytes, as hexadecimal digits."""
    content = hashlib.sha256()
    with disk_errors(file), file.open("rb") as source:
        left = file.stat().st_size if size is None else size
        while block := source.read(min(left, BLOCK)):
            content.update(block)
            left -= len(block)
    return content.hexdigest()


def lock(folder: Path) -> None:
    """Take a folder for this process, until `unlock` or the end of the process, however it ends.

    The folder is made if missing, and what an interrupted process wrote half in it is removed.
    Raises UserError that names the folder and the process that has it.
    """
    from filelock import FileLock, Timeout

    folder = folder.absolute()
    if folder in _held:
        return
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        own = FileLock(folder / LOCK, timeout=0)
        try:
            own.acquire()
        except Timeout as error:
            process = (folder / LOCK).read_text(encoding="utf-8").strip() or "of another user"
            raise UserError(
                f"{folder} is in use by process {process}: wait until it has ended, or use "
                "another folder"
            ) from error
        _held[folder] = own
        (folder / LOCK).write_text(f"{os.getpid()}\n", encoding="utf-8")
        sweep(folder)


@contextmanager
def locked_file(file: Path) -> Iterator[None]:
    """Hold a file within a block: others that want to change it wait.

    Raises UserError that names the file if another process holds it for `PATIENCE` seconds.
    """
    from filelock import FileLock, Timeout

    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        own = FileLock(file.with_name(f".{file.name}.lock"), timeout=PATIENCE)
        try:
            own.acquire()
        except Timeout as error:
            raise UserError(f"{file} is in use by another process: try again") from error
    try:
        yield
    finally:
        own.release()


def sweep(folder: Path) -> None:
    """Remove what an interrupted process wrote half in a folder that this one has."""
    for left in folder.glob(".*"):
        if TEMPORARY.fullmatch(left.name) and left.is_file():
            left.unlink()


def unlock(folder: Path) -> None:
    """Give back a folder that `lock` took, if it is taken."""
    own = _held.pop(folder.absolute(), None)
    if own:
        own.release(force=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Take a folder as `lock` does while the block runs."""
    lock(folder)
    try:
        yield
    finally:
        unlock(folder)


def expand_user(place: str | Path) -> Path:
    """Return the place that `~` or `~name` begins; unlike Path, one of nobody stays as it is."""
    return Path(os.path.expanduser(place))  # noqa: PTH111


def is_folder(place: str | Path) -> bool:
    """Tell whether a place is a folder; Path.is_dir raises for names that are too long."""
    return os.path.isdir(place)  # noqa: PTH112
