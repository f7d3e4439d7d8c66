"""Where a model looks: class activation maps."""

from nbutils.backend import keras  # before tf_keras_vis, which would import TensorFlow aloud

# isort: split
import contextlib
import io
from collections.abc import Callable

import numpy as np
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.layercam import Layercam
from tf_keras_vis.scorecam import Scorecam
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore
from tqdm.auto import tqdm

from nbutils import feature_maps
from nbutils.paths import UserError

BATCH = 16  # images whose gradients are in memory together
FUSED = "Grad-CAM x LayerCAM"
SCORED_CHANNELS = 16  # of the last maps that Score-CAM tries, those that vary most
LIBRARY = {  # method -> class of tf-keras-vis, which maps it reads, images at once, options
    "Grad-CAM": (Gradcam, feature_maps.last, BATCH, {}),
    "Grad-CAM++": (GradcamPlusPlus, feature_maps.last, BATCH, {}),
    "LayerCAM": (Layercam, feature_maps.finer, BATCH, {}),
    "Score-CAM": (Scorecam, feature_maps.last, 1, {"max_N": SCORED_CHANNELS}),  # of each image
}
METHODS = (*LIBRARY, FUSED)


def activation_maps(
    model: keras.Model, squares: np.ndarray, classes: np.ndarray, method: str = FUSED
) -> np.ndarray:
    """Compute maps of what speaks for a class; `explainer` says how."""
    return explainer(model, method)(squares, classes)


def explainer(model: keras.Model, method: str = FUSED) -> Callable:
    """Prepare activation maps of a model, by tf-keras-vis.

    Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391), Grad-CAM++ (Chattopadhay et al., WACV
    2018, arXiv:1710.11063) and Score-CAM (Wang et al., CVPRW 2020, arXiv:1910.01279) read the last
    maps of the network; LayerCAM (Jiang et al., IEEE TIP 30, 2021) reads finer ones. `FUSED` is the
    product of Grad-CAM, which knows the class, and LayerCAM, which knows the place.

    Parameters
    ----------
    model
        Functional, images in [0, 255] to softmax probabilities.
    method
        One of `METHODS`.

    Returns
    -------
    Function of images, uint8 (n, size, size, 1), and the number of the class to explain for each;
    it returns float32 maps in [0, 1], shape (n, size, size), all zero where nothing speaks for the
    class.
    """
    if method not in METHODS:
        raise UserError(f"METHOD {method!r} is unknown: choose one of {', '.join(METHODS)}")
    if method == FUSED:
        coarse, fine = explainer(model, "Grad-CAM"), explainer(model, "LayerCAM")
        return lambda squares, classes: _scaled(coarse(squares, classes) * fine(squares, classes))
    kind, layer, batch, options = LIBRARY[method]
    cam = kind(model, model_modifier=ReplaceToLinear(), clone=True)
    options = {"penultimate_layer": layer(model), "seek_penultimate_conv_layer": False, **options}

    def maps(squares: np.ndarray, classes: np.ndarray) -> np.ndarray:
        starts = range(0, len(squares), batch)
        bar = tqdm(starts, desc=method, unit="batch", leave=False, disable=len(starts) == 1)
        parts = ((squares[at : at + batch], classes[at : at + batch]) for at in bar)
        with contextlib.redirect_stdout(io.StringIO()):  # Score-CAM lets Keras print
            found = [
                cam(CategoricalScore(numbers.tolist()), images.astype(np.float32), **options)
                for images, numbers in parts
            ]
        return np.concatenate(found)

    return maps


def _scaled(maps: np.ndarray) -> np.ndarray:
    return maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-9)


def untrained(model: keras.Model, seed: int) -> keras.Model:
    """Return a model of the same architecture with random weights: a baseline."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)
