"""Keras and TensorFlow, imported without the notes that TensorFlow's C++ prints on the way.

No environment variable silences all of them; `TF_CPP_MIN_LOG_LEVEL=0` brings most back.
"""

import os

from nbutils.quiet import quietly

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
with quietly():
    import keras
    import tensorflow as tf

    tf.config.list_physical_devices()  # it says now, and only now, that there is no GPU

__all__ = ["keras", "tf"]
