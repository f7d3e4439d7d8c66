"""Boxes as pixels."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def masks(rows: pd.DataFrame, labels: Iterable[str], side: int) -> np.ndarray:
    """Mark the pixels of one class's boxes in each image, on a square grid.

    Parameters
    ----------
    rows
        boxes, (label, xmin, ymin, xmax, ymax) each; width and height of the image; all in pixels.
    labels
        The class whose boxes count, for each image.
    side
        Of the grid.

    Returns
    -------
    bool array of shape (images, side, side).
    """
    found = np.zeros((len(rows), side, side), bool)
    for mask, row, label in zip(found, rows.itertuples(), labels, strict=True):
        down, across = side / row.height, side / row.width
        for name, left, top, right, bottom in row.boxes:
            if name == label:
                lines = slice(int(top * down), int(np.ceil(bottom * down)))
                mask[lines, int(left * across) : int(np.ceil(right * across))] = True
    return found
