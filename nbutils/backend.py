"""Keras and TensorFlow, imported without the notes that TensorFlow's C++ prints on the way.

No environment variable silences all of them; `TF_CPP_MIN_LOG_LEVEL=0` keeps them.
"""

import os
from contextlib import nullcontext

from nbutils.quiet import quietly

aloud = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"
with nullcontext() if aloud else quietly():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()  # it says once, now, why there is no GPU

__all__ = ["keras", "tf"]
