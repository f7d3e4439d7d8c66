"""Keras and TensorFlow, imported without the notes that TensorFlow's C++ prints on the way.

No environment variable silences all of them; `TF_CPP_MIN_LOG_LEVEL=0` brings most back.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _without_stderr() -> Iterator[None]:
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with _without_stderr():
    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
