"""How files come in: from a browser, from a folder, from the suspects of a run."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

from nbutils import disk, runs
from nbutils.data import image_list
from nbutils.data.images import MAX_COLOUR_PIXELS, MAX_PIXELS, read_file
from nbutils.disk import UserError

MAX_BYTES = 64 * 2**20  # of a file from a browser
IN_MEMORY = 2**20  # bytes; larger files and images lie in a temporary file
MAX_FILES = 2000  # of a folder
LIMITS = (
    f"JPEG, PNG, BMP or TIFF, at most {MAX_BYTES // 2**20} MB and "
    f"{MAX_PIXELS // 10**6} million pixels each, in colour {MAX_COLOUR_PIXELS // 10**6} million"
)


class File(NamedTuple):
    """A file to classify: its content, open or where it is, and a label that is doubtful."""

    name: str
    content: bytes | IO[bytes] | Path
    stored: str = ""

    def read(self) -> bytes:
        """Return its content, once; ImageError where that cannot be read."""
        if isinstance(self.content, bytes):
            return self.content
        if isinstance(self.content, Path):
            return read_file(self.content)
        with self.content:
            return self.content.read()


@contextmanager
def temporary(name: str) -> Iterator[None]:
    """Say in a sentence that a file cannot be written below the folder of temporary files."""
    try:
        yield
    except OSError as error:
        place = tempfile.gettempdir()
        text = f"{name} could not be kept in {place} ({error.strerror}): make room there"
        raise UserError(text) from error


def list_folder(
    folder: str, root: Path, stopped: Callable[[], bool], notify: Callable[[str], None]
) -> list[File]:
    """List the images in a folder below `root`, at most `MAX_FILES`, until `stopped`.

    A relative path starts at the root. It notifies where there are more. Raises UserError for a
    folder outside, also by a link, or without images.
    """
    root, name = root.resolve(), folder.strip()
    try:
        place = (root / disk.expand_user(name)).resolve()
        is_folder = place.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long, a loop, or with a zero byte
        raise UserError(f"{name[:80]!r} is no name of a folder: name one") from error
    if not name or not place.is_relative_to(root):
        raise UserError(f"{name or 'an empty name'} is no folder below {root}: name one")
    if not is_folder:
        raise UserError(f"{name} is no folder: name one that holds images")
    files: list[File] = []
    n_outside = 0
    for path in image_list.list_images([str(place)]):
        if stopped():
            return []
        if len(files) == MAX_FILES:
            notify(f"{name} holds more than {MAX_FILES} images: these are the first.")
            break
        if _is_below(Path(path), root):
            files.append(File(_shown(Path(path), root), Path(path)))
        else:
            n_outside += 1
    if n_outside:
        notify(f"{n_outside} of {name} are links to elsewhere and left out.")
    return files


def _is_below(path: Path, root: Path) -> bool:
    """Tell whether a path, whatever it links to, lies below a resolved folder."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a link to itself
        return False


def list_suspects(run: str) -> list[File]:
    """List the images of a run whose label is doubtful, with that label, the worst first."""
    table = runs.read_csv(runs.open_run(run) / runs.SUSPECTS)
    rows = zip(table["path"], table["label"], strict=True)
    return [File(path, Path(path), label) for path, label in islice(rows, MAX_FILES)]


def _shown(path: Path, root: Path) -> str:
    """Return a path as it is shown: from the root, unless that is the root of all."""
    return str(path if root == Path(root.anchor) else path.relative_to(root))
