"""Read the tensors of a legacy PyTorch file without PyTorch, and without running what is in it.

The format, as `torch.save` wrote it before version 1.6: four pickles (magic number, protocol,
system, objects), a fifth with the keys of the storages, then each storage as its length (int64)
and its values, all little-endian. Objects are an ordered dictionary of tensors, each a view into
a storage.
"""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np

from nbutils.paths import UserError

MAGIC = 0x1950A86A20F9469CFC6C
TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensors(pickle.Unpickler):
    """An unpickler that knows tensors, their storages and ordered dictionaries; nothing else."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in TYPES:
            return TYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, saved: tuple):
        kind, dtype, key, _, size = saved[:5]
        if kind != "storage" or not 0 <= size * dtype.itemsize <= self.limit:
            raise pickle.UnpicklingError(f"it holds a {kind} of {size} values")
        return self.storages.setdefault(key, np.zeros(size, dtype))


def _view(storage, offset, shape, strides, *_) -> np.ndarray:
    last = offset + sum((count - 1) * step for count, step in zip(shape, strides, strict=True))
    if min(offset, *shape, *strides, 0) < 0 or last >= len(storage):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    steps = [step * storage.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary by name: float32 or int64 arrays.

    Raises
    ------
    UserError
        If the file is no such file, is truncated, or asks for anything but tensors.
    """
    try:
        with path.open("rb") as file:
            return _read(file)
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        raise UserError(
            f"{path} is no legacy PyTorch file of tensors, or is damaged ({error}): "
            "install it again"
        ) from error


def _read(file) -> dict[str, np.ndarray]:
    storages: dict[str, np.ndarray] = {}
    objects = None
    limit = os.fstat(file.fileno()).st_size
    for step in range(5):
        unpickler = _Tensors(file)
        unpickler.storages, unpickler.limit = storages, limit
        found = unpickler.load()
        if step == 0 and found != MAGIC:
            raise ValueError("the magic number is missing")
        if step == 3:
            objects = found
    for key in found:
        storage = storages[key]
        size = int.from_bytes(file.read(8), "little")
        content = file.read(storage.nbytes)
        if size != len(storage) or len(content) != storage.nbytes:
            raise ValueError(f"a storage of {len(storage)} values is not whole")
        storage[:] = np.frombuffer(content, storage.dtype)
    return dict(objects)
