"""Where a model looks: class activation maps."""

from nbutils.backend import keras  # before tf_keras_vis, which would import TensorFlow aloud

# isort: split
import contextlib
import io

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

BATCH = 32
FUSED = "Grad-CAM x LayerCAM"
SCORED_CHANNELS = 16  # of the last maps that Score-CAM tries, those that vary most
LIBRARY = {  # method -> class of tf-keras-vis, which maps it reads, options
    "Grad-CAM": (Gradcam, feature_maps.last, {}),
    "Grad-CAM++": (GradcamPlusPlus, feature_maps.last, {}),
    "LayerCAM": (Layercam, feature_maps.finer, {}),
    "Score-CAM": (Scorecam, feature_maps.last, {"max_N": SCORED_CHANNELS}),
}
METHODS = (*LIBRARY, FUSED)


def activation_maps(
    model: keras.Model, squares: np.ndarray, classes: np.ndarray, method: str = FUSED
) -> np.ndarray:
    """Compute maps of what speaks for a class, by tf-keras-vis.

    Grad-CAM (Selvaraju et al., ICCV 2017, arXiv:1610.02391), Grad-CAM++ (Chattopadhay et al., WACV
    2018, arXiv:1710.11063) and Score-CAM (Wang et al., CVPRW 2020, arXiv:1910.01279) read the last
    maps of the network; LayerCAM (Jiang et al., IEEE TIP 30, 2021) reads finer ones. `FUSED` is the
    product of Grad-CAM, which knows the class, and LayerCAM, which knows the place.

    Parameters
    ----------
    model
        Functional, images in [0, 255] to softmax probabilities.
    squares
        uint8, shape (images, size, size, 1).
    classes
        Number of the class to explain, for each image.
    method
        One of `METHODS`.

    Returns
    -------
    float32 maps in [0, 1], shape (images, size, size); all zero where nothing speaks for the class.
    """
    if method not in METHODS:
        raise UserError(f"METHOD {method!r} is unknown: choose one of {', '.join(METHODS)}")
    if method == FUSED:
        coarse, fine = (
            activation_maps(model, squares, classes, part) for part in ("Grad-CAM", "LayerCAM")
        )
        product = coarse * fine
        return product / np.maximum(product.max(axis=(1, 2), keepdims=True), 1e-9)
    kind, layer, options = LIBRARY[method]
    cam = kind(model, model_modifier=ReplaceToLinear(), clone=True)
    starts = tqdm(range(0, len(squares), BATCH), desc=method, unit="batch", leave=False)
    with contextlib.redirect_stdout(io.StringIO()):  # Score-CAM lets Keras print
        maps = [
            cam(
                CategoricalScore(classes[at : at + BATCH].tolist()),
                squares[at : at + BATCH].astype(np.float32),
                penultimate_layer=layer(model),
                seek_penultimate_conv_layer=False,
                **options,
            )
            for at in starts
        ]
    return np.concatenate(maps)


def untrained(model: keras.Model, seed: int) -> keras.Model:
    """Return a model of the same architecture with random weights: a baseline."""
    keras.utils.set_random_seed(seed)
    return keras.models.clone_model(model)
