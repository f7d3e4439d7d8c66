"""Where a model looks: class activation maps, by tf-keras-vis."""

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from nbutils.disk import UserError

if TYPE_CHECKING:
    import keras

BATCH_SIZE = 16  # images whose gradients are in memory together
FUSED = "Grad-CAM x LayerCAM"
METHODS = ("Grad-CAM", "Grad-CAM++", "LayerCAM", "Score-CAM", FUSED)
SCORED_CHANNELS = 16  # of the last maps that Score-CAM tries, those that vary most


def activation_maps(
    model: "keras.Model", images: np.ndarray, y: np.ndarray, method: str = FUSED
) -> np.ndarray:
    """Compute where a functional model, [0, 255] to softmax, sees classes, by one of `METHODS`.

    Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391), Grad-CAM++ (Chattopadhay et al., WACV
    2018, arXiv:1710.11063) and Score-CAM (Wang et al., CVPRW 2020, arXiv:1910.01279) read the last
    maps of the network; LayerCAM (Jiang et al., IEEE TIP 30, 2021) reads finer ones. `FUSED` is the
    product of Grad-CAM, which is specific to the class, and LayerCAM, which is finer in place.

    Images are uint8 (n, size, size, 1), and y is the class number (int) to explain for each. Maps
    are float32 in [0, 1], (n, size, size), all zero where there is no evidence for the class.
    Raises UserError if there is no such method.
    """
    if method not in METHODS:
        raise UserError(f"METHOD {method!r} is unknown: choose one of {', '.join(METHODS)}")
    if method == FUSED:
        coarse, fine = (activation_maps(model, images, y, each) for each in FUSED.split(" x "))
        return _rescale(coarse * fine)
    cam, batch_size = _library_method(model, method)
    starts = range(0, len(images), batch_size)
    bar = tqdm(starts, desc=method, unit="batch", leave=False, disable=len(starts) == 1)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # of Score-CAM
        warnings.filterwarnings("ignore", message="The structure of `inputs`")
        batches = (slice(at, at + batch_size) for at in bar)
        return np.concatenate([cam(images[each], y[each]) for each in batches])


def with_random_weights(model: "keras.Model", seed: int) -> "keras.Model":
    """Return a model of the same architecture with random weights: a baseline."""
    from nbutils.runtime import keras

    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)


def _library_method(model: "keras.Model", method: str) -> tuple[Callable, int]:
    """Return a method of tf-keras-vis, as a function of images and y, and images at once."""
    from nbutils.models import networks  # imports Keras quietly, which tf_keras_vis would not

    # isort: split
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    kind, layer, batch_size, options = {
        "Grad-CAM": (Gradcam, networks.last_maps, BATCH_SIZE, {}),
        "Grad-CAM++": (GradcamPlusPlus, networks.last_maps, BATCH_SIZE, {}),
        "LayerCAM": (Layercam, networks.finer_maps, BATCH_SIZE, {}),
        "Score-CAM": (Scorecam, networks.last_maps, 1, {"max_N": SCORED_CHANNELS}),  # per image
    }[method]
    read = {"penultimate_layer": layer(model), "seek_penultimate_conv_layer": False}
    cam = kind(model, model_modifier=ReplaceToLinear(), clone=True)

    def compute(images: np.ndarray, y: np.ndarray) -> np.ndarray:
        return cam(CategoricalScore(y.tolist()), images.astype(np.float32), **read, **options)

    return compute, batch_size


def _rescale(maps: np.ndarray) -> np.ndarray:
    return maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-9)
