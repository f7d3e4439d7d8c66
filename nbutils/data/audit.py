"""Audit of a data set: counts, identical and near-duplicate images, intensity and texture."""

import numpy as np
import pandas as pd
from scipy import fft
from scipy.ndimage import gaussian_filter

from nbutils.data.datasets import read_originals
from nbutils.data.images import resize

THUMBNAIL = 50  # pixels
PADDED = 80  # pixels, zero-padded so that shifts of up to 30 do not wrap around
MIN_CORRELATION = 0.7  # of thumbnails that count as near-duplicates
WINDOW = 300  # following images of its class that each is compared with


def summarize(table: pd.DataFrame, part: pd.Series, pairs: pd.DataFrame) -> dict:
    """Count what a reader should know of an indexed data set before training.

    Parameters
    ----------
    table
        As `datasets.index_images` returns it.
    part
        As `splits.make_split` returns it.
    pairs
        As `near_duplicates` returns them.
    """
    sizes = (table["width"].astype(str) + " x " + table["height"].astype(str)).value_counts()
    second = has_second_class(table)
    return {
        "images": len(table),
        "images_by_class": table["label"].value_counts().sort_index().to_dict(),
        "images_by_part": part.value_counts().to_dict(),
        "sizes": sizes.to_dict(),
        "skipped": table.attrs["skipped"],
        "identical": identical(table),
        "second_class": int(second.sum()),
        "second_class_by_class": table.loc[second, "label"].value_counts().sort_index().to_dict(),
        "without_box": int((table["boxes"].map(len) == 0).sum()),
        "near_duplicates": len(pairs),
        "near_duplicates_across_parts": len(across(pairs, part)),
    }


def identical(table: pd.DataFrame) -> list[list[str]]:
    """Return the groups of paths whose pixels are the same."""
    groups = table.groupby("sha256")["path"].agg(list)
    return groups[groups.map(len) > 1].tolist()


def has_second_class(table: pd.DataFrame) -> pd.Series:
    """Tell for each image whether one of its boxes has another class than the image."""
    return pd.Series(
        [
            any(box[0] != label for box in boxes)
            for label, boxes in zip(table["label"], table["boxes"], strict=True)
        ],
        table.index,
        dtype=bool,
    )


def measure_texture(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Measure intensity and texture of each image.

    Returns
    -------
    DataFrame on the table's index: mean and contrast (standard deviation) of the gray values in
    [0, 255], and roughness (mean absolute difference of neighbours divided by the contrast);
    and the thumbnails, uint8, shape (images, 50, 50).
    """
    rows, thumbnails = [], []
    for gray in read_originals(table):
        thumbnails.append(resize(gray, THUMBNAIL)[..., 0])
        values = gray.astype(float)
        steps = np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean()
        rows.append((values.mean(), values.std(), steps / 2 / max(values.std(), 1)))
    measures = pd.DataFrame(rows, table.index, columns=["mean", "contrast", "roughness"])
    return measures, np.stack(thumbnails)


def near_duplicates(table: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    """Find pairs of one class that show the same spot of steel, also shifted or relit.

    Thumbnails are high-pass filtered and normalised in local contrast, then cross-correlated at
    every shift (zero-padded FFT), so that crops that overlap by most of their area are found too.
    Each image is compared with the `WINDOW` that follow it in its class.

    Parameters
    ----------
    table
        As `datasets.index_images` returns it.
    thumbnails
        As `measure_texture` returns them.

    Returns
    -------
    One row a pair: a, b (labels of the table's index), correlation in
    [MIN_CORRELATION, 1], highest first.
    """
    details = np.stack([_details(thumbnail) for thumbnail in thumbnails])
    spectra = fft.rfft2(details, (PADDED, PADDED))
    rows = []
    for of_class in table.reset_index().groupby("label").indices.values():
        for position, one in enumerate(of_class[:-1]):
            others = of_class[position + 1 : position + 1 + WINDOW]
            correlations = fft.irfft2(spectra[one].conj() * spectra[others], workers=-1)
            highest = correlations.max(axis=(1, 2))
            rows += [
                (table.index[one], table.index[other], correlation)
                for other, correlation in zip(others, highest, strict=True)
                if correlation >= MIN_CORRELATION
            ]
    pairs = pd.DataFrame(rows, columns=["a", "b", "correlation"])
    return pairs.sort_values("correlation", ascending=False, ignore_index=True)


def across(pairs: pd.DataFrame, part: pd.Series) -> pd.DataFrame:
    """Return the pairs with exactly one of the two images in the test part."""
    is_test = part == "test"
    return pairs[is_test[pairs["a"]].to_numpy() != is_test[pairs["b"]].to_numpy()]


def _details(thumbnail: np.ndarray) -> np.ndarray:
    """High-pass filter a thumbnail and normalise its local contrast; mean 0, norm 1."""
    values = thumbnail.astype(np.float32)
    values -= gaussian_filter(values, 2)
    values /= np.sqrt(gaussian_filter(values**2, 4)) + 2
    values -= values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-9)
