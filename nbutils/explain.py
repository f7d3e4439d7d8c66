"""Where a model looks: class activation maps."""

from nbutils.backend import keras  # before tf_keras_vis, which would import TensorFlow aloud

# isort: split
import numpy as np
import pandas as pd
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
from tf_keras_vis.utils.scores import CategoricalScore

from nbutils.paths import UserError

BATCH = 32


def last_convolution(model: keras.Model) -> str:
    """Return the name of the last convolution of a model; UserError if there is none."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
    for layer in reversed(model.layers):
        if isinstance(layer, kinds):
            return layer.name
    raise UserError(f"model {model.name!r} has no convolution: activation maps need one")


def grad_cam(model: keras.Model, squares: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Compute Grad-CAM maps by tf-keras-vis on the last convolution.

    Selvaraju et al., ICCV 2017 (arXiv:1610.02391).

    Parameters
    ----------
    model
        Functional, images in [0, 255] to softmax probabilities.
    squares
        uint8, shape (images, size, size, 1).
    classes
        Number of the class to explain, for each image.

    Returns
    -------
    float32 maps in [0, 1], shape (images, size, size); all zero where nothing speaks for the class.
    """
    cam = Gradcam(model, model_modifier=ReplaceToLinear(), clone=True)
    layer = last_convolution(model)
    maps = [
        cam(
            CategoricalScore(classes[at : at + BATCH].tolist()),
            squares[at : at + BATCH].astype(np.float32),
            penultimate_layer=layer,
        )
        for at in range(0, len(squares), BATCH)
    ]
    return np.concatenate(maps)


def score(rows: pd.DataFrame, maps: np.ndarray) -> pd.DataFrame:
    """Hold maps against the boxes of the predicted class.

    Parameters
    ----------
    rows
        path, label, predicted, boxes, and the image's width and height in pixels.
    maps
        As `grad_cam` returns them, in the same order.

    Returns
    -------
    One row an image: path, label, predicted; pointing (1 if the brightest point lies in a box:
    the pointing game of Zhang et al., ECCV 2016), energy (share of the map inside) and coverage
    (share of the image inside), both in [0, 1]; missing values where the image has no such box.
    """
    scores = []
    for row, heat in zip(rows.itertuples(), maps, strict=True):
        inside = box_mask(row.boxes, row.predicted, (row.height, row.width), len(heat))
        if not inside.any():
            scores.append((np.nan, np.nan, np.nan))
            continue
        hit = inside.flat[heat.argmax()] and heat.max() > 0
        energy = heat[inside].sum() / max(heat.sum(), 1e-9)
        scores.append((float(hit), energy, inside.mean()))
    found = pd.DataFrame(scores, columns=["pointing", "energy", "coverage"])
    return rows[["path", "label", "predicted"]].reset_index(drop=True).join(found)


def box_mask(boxes: list, label: str, shape: tuple[int, int], side: int) -> np.ndarray:
    """Mark the pixels of a class's boxes, on a square grid.

    Parameters
    ----------
    boxes
        (label, xmin, ymin, xmax, ymax) in pixels of the image.
    label
        The class whose boxes count.
    shape
        Height and width of the image in pixels.
    side
        Of the grid.

    Returns
    -------
    bool array of shape (side, side).
    """
    mask = np.zeros((side, side), bool)
    down, across = side / shape[0], side / shape[1]
    for name, left, top, right, bottom in boxes:
        if name == label:
            rows = slice(int(top * down), int(np.ceil(bottom * down)))
            mask[rows, int(left * across) : int(np.ceil(right * across))] = True
    return mask
