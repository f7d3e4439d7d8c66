"""The part of the panel that runs in the browser."""

from collections.abc import Callable
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import anywidget
import traitlets

from nbutils.apps.intake import IN_MEMORY, LIMITS, MAX_BYTES, temporary
from nbutils.data.files import SUFFIXES
from nbutils.disk import UserError

TOO_LARGE = f"{{}} did not arrive whole: files of {LIMITS} are taken"
UNREADABLE = "{} could not be read by the browser: add it again"
MAX_UNFINISHED = 4  # files that arrive at the same time; a browser sends one after the other


class Bridge(anywidget.AnyWidget):
    """Drag and drop, files, keys and spoken sentences (`bridge.js`).

    It sends files in pieces, so that no limit of a message matters, and keys; what is `said` is
    read out by screen readers. `take` gets each file, its name and content (or a sentence about why
    that did not arrive), `press` each key and what was `chosen`; `ready` is called once it runs.
    """

    _esm = Path(__file__).with_name("bridge.js")
    said = traitlets.Unicode().tag(sync=True)
    chosen = traitlets.Unicode().tag(sync=True)  # stands for the file on the screen
    hint = traitlets.Unicode(f"or drop them anywhere here. {LIMITS}.").tag(sync=True)
    suffixes = traitlets.List(list(SUFFIXES)).tag(sync=True)
    max_bytes = traitlets.Int(MAX_BYTES).tag(sync=True)

    def __init__(
        self,
        take: Callable[[str, IO[bytes] | str], None],
        press: Callable[[str, str], None],
        ready: Callable[[], None],
    ):
        super().__init__()
        self.take, self.press, self.ready = take, press, ready
        self.pieces: dict[int, IO[bytes]] = {}
        self.on_msg(self._receive)

    def _receive(self, _: Any, content: dict[str, Any], buffers: list[memoryview]) -> None:
        kind = content.get("kind")
        if kind == "key":
            self.press(str(content["key"]), str(content.get("chosen", "")))
        elif kind == "ready":
            self.ready()
        elif kind in ("too large", "unreadable"):
            name = str(content["name"])
            self.pieces.pop(int(content["id"]), None)
            self.take(name, (TOO_LARGE if kind == "too large" else UNREADABLE).format(name))
            self.send({"kind": "taken"})
        elif kind == "piece":
            self._put_together(int(content["id"]), content, buffers[0])
            self.send({"kind": "taken"})

    def _put_together(self, number: int, facts: dict[str, Any], piece: memoryview) -> None:
        """Add a piece to a file; many may wait for their turn, so large ones lie on the disk."""
        name, size = str(facts["name"]), int(facts["size"])
        if number not in self.pieces:
            self.pieces[number] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  who takes it closes
        whole = self.pieces[number]
        try:
            with temporary(name):
                whole.write(piece)
        except UserError as error:
            self.pieces.pop(number)
            self.take(name, str(error))
            return
        arrived = whole.tell()
        if len(self.pieces) > MAX_UNFINISHED:
            self.pieces.pop(next(iter(self.pieces)))  # of a page that was left
        if size > MAX_BYTES or arrived > size:
            self.pieces.pop(number)
            self.take(name, TOO_LARGE.format(name))
        elif arrived == size:
            whole.seek(0)
            self.take(name, self.pieces.pop(number))
