"""Silence for libraries that write to the standard error past Python."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_ALONE = RLock()  # there is one standard error: who overlapped would bring back the silence


@contextmanager
def quietly() -> Iterator[None]:
    """Drop what C++ and Python write to the standard error meanwhile."""
    with _ALONE:
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
