"""Pretrained networks by name, with their own scaling and their ImageNet weights."""

import difflib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nbutils import runs, runtime
from nbutils.disk import UserError
from nbutils.models import efficientnet_lite0
from nbutils.runtime import keras

LITE0 = "efficientnet_lite0"
SHIPPED = ("mobilenetv2", 0.35)  # network and width of the model that ships


class MissingWeights(UserError):
    """ImageNet weights that are not at hand and cannot be downloaded."""


def available() -> dict[str, str]:
    """Return the backbones of `keras.applications`: name in lower case without `_` -> class."""
    constructors = (name for name in dir(keras.applications) if name[0].isupper())
    return {name.lower(): name for name in constructors}


def apply_backbone(name: str, images, alpha: float, weights: str | None = "imagenet"):
    """Apply a backbone within a functional graph, so that activation maps reach its convolutions.

    Parameters
    ----------
    name
        `efficientnet_lite0`, or any of `keras.applications` as in `mobilenet_v2`.
    images
        Tensor (batch, size, size, 3) in [0, 255].
    alpha
        Width of MobileNet and MobileNetV2; the others have none.
    weights
        `imagenet`, or None for random ones.

    Returns
    -------
    Tensor (batch, rows, columns, channels) of feature maps.

    Raises
    ------
    UserError
        If there is no such backbone, or its weights are not at hand and cannot be downloaded
        (MissingWeights).
    """
    key = _key(name)
    if key == _key(LITE0):
        return _lite0(images, weights)
    constructor = _constructor(name)
    options = {"alpha": alpha} if key in ("mobilenet", "mobilenetv2") else {}
    return _build(constructor, images, weights, options).output


def ships(name: str, alpha: float) -> bool:
    """Tell whether a backbone is that of the model that ships, which `apply_shipped` applies."""
    return (_key(name), alpha) == SHIPPED


def apply_shipped(images):
    """Apply the backbone of the model that ships, with the weights that it was trained to.

    Images are as of `apply_backbone`; their channels are those of `FlatField`, as in its training.
    """
    name, alpha = SHIPPED
    built = _build(_constructor(name), images, None, {"alpha": alpha})
    _load_shipped_weights(built)
    return built.output


def _build(constructor, images, weights: str | None, options: dict) -> keras.Model:
    preprocess = sys.modules[constructor.__module__].preprocess_input
    with _weights_from_caches(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input_shape. is undefined or non-square")
        return constructor(
            include_top=False,
            weights=weights,
            input_shape=images.shape[1:],
            input_tensor=preprocess(images),
            **options,
        )


def _load_shipped_weights(backbone: keras.Model) -> None:
    """Fill a backbone with the weights that the shipped model of this network was trained to."""
    from nbutils.models import layers  # noqa: F401  registers the project's own

    file = runs.SHIPPED / "mobilenet_v2" / runs.KERAS_MODEL
    shipped = keras.saving.load_model(runs.require(file), compile=False)
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(shipped.get_layer(layer.name).get_weights())


def _lite0(images, weights: str | None):
    scaled = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="lite0_scale")(images)
    maps = efficientnet_lite0.features(scaled)
    if weights:
        efficientnet_lite0.load_weights(keras.Model(images, maps))
    return maps


def _constructor(name: str):
    classes = available()
    key = _key(name)
    if key not in classes:
        similar = difflib.get_close_matches(key, [*classes, _key(LITE0)], n=3)
        hint = (
            f"did you mean {' or '.join(similar)}?" if similar else "see keras.io/api/applications"
        )
        raise UserError(f"there is no backbone {name!r}: {hint}")
    return getattr(keras.applications, classes[key])


def _key(name: str) -> str:
    return name.replace("_", "").lower()


@contextmanager
def _weights_from_caches() -> Iterator[None]:
    """Have `keras.applications` look for weights in every cache before it downloads them.

    Keras itself looks into one cache, ignores it where it is read-only, and waits long without a
    network.
    """
    from keras.src.utils import file_utils

    download = file_utils.get_file
    cached = []

    def get_file(fname, origin, **options):
        folders = [cache / "models" for cache in _cache_folders()]
        for file in (folder / fname for folder in folders):
            if file.exists():
                cached.append(file)
                return str(file)
        cure = f"put the file into {folders[0]}"
        if not runtime.is_reachable(origin):
            raise MissingWeights(
                f"the weights {fname} are in no Keras cache and cannot be downloaded here: {cure}"
            )
        return _download(functools.partial(download, fname, origin, **options), origin, cure)

    file_utils.get_file = get_file
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        cure = f"download {cached[-1]} again" if cached else "choose another size or width"
        raise UserError(f"the network cannot be built ({error}): {cure}") from error
    finally:
        file_utils.get_file = download


def _download(download: Callable[[], str], origin: str, cure: str) -> str:
    try:
        return download()
    except Exception as error:  # Keras raises no narrower one
        raise MissingWeights(f"{origin} cannot be downloaded ({error}): {cure}") from error


def _cache_folders() -> list[Path]:
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")).expanduser()
    return [home, runs.ROOT.parent / "shared" / "keras"]
