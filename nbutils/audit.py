"""What is wrong, odd or repeated in a data set."""

import numpy as np
import pandas as pd
from scipy import fft
from scipy.ndimage import gaussian_filter

from nbutils.data import read_grays
from nbutils.images import square

THUMBNAIL = 50  # pixels
PADDED = 80  # pixels, room for shifts of up to 30 before the far edge comes round
NEAR = 0.7  # correlation of thumbnails from which two images count as one spot of steel
WINDOW = 300  # images of a class that each is compared with


def audit(table: pd.DataFrame, part: pd.Series, pairs: pd.DataFrame) -> dict:
    """Collect the facts of an indexed data set that a reader should know before training.

    Parameters
    ----------
    table
        As `data.index` returns it.
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


def texture(table: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """Measure intensity and texture of each image.

    Returns
    -------
    DataFrame on the table's index: mean and contrast (standard deviation) of the gray values in
    [0, 255], and roughness (mean absolute difference of neighbours divided by the contrast);
    and the thumbnails, uint8, shape (images, 50, 50).
    """
    rows, thumbnails = [], []
    for gray in read_grays(table):
        thumbnails.append(square(gray, THUMBNAIL)[..., 0])
        values = gray.astype(float)
        steps = np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean()
        rows.append((values.mean(), values.std(), steps / 2 / max(values.std(), 1)))
    measures = pd.DataFrame(rows, table.index, columns=["mean", "contrast", "roughness"])
    return measures, np.stack(thumbnails)


def near_duplicates(table: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    """Find pairs of one class that show the same spot of steel, also shifted or relit.

    Thumbnails are freed of slow light and evened out in contrast, then correlated at every shift
    (zero-padded FFT), so that crops that overlap by most of their area are found too. Each image
    is compared with the `WINDOW` that follow it in its class.

    Parameters
    ----------
    table
        As `data.index` returns it.
    thumbnails
        As `texture` returns them.

    Returns
    -------
    One row a pair: a, b (labels of the table's index), correlation in [NEAR, 1], highest first.
    """
    details = np.stack([_details(thumbnail) for thumbnail in thumbnails])
    spectra = fft.rfft2(details, (PADDED, PADDED))
    rows = []
    for _, places in table.reset_index().groupby("label").indices.items():
        for at, place in enumerate(places[:-1]):
            others = places[at + 1 : at + 1 + WINDOW]
            shifted = fft.irfft2(spectra[place].conj() * spectra[others], workers=-1)
            best = shifted.max(axis=(1, 2))
            rows += [
                (table.index[place], table.index[other], value)
                for other, value in zip(others, best, strict=True)
                if value >= NEAR
            ]
    pairs = pd.DataFrame(rows, columns=["a", "b", "correlation"])
    return pairs.sort_values("correlation", ascending=False, ignore_index=True)


def across(pairs: pd.DataFrame, part: pd.Series) -> pd.DataFrame:
    """Return the pairs with one image in the test part and the other in a learning part."""
    tested = part == "test"
    return pairs[tested[pairs["a"]].to_numpy() != tested[pairs["b"]].to_numpy()]


def _details(thumbnail: np.ndarray) -> np.ndarray:
    """Keep what is finer than slow light, at even contrast; mean 0, norm 1."""
    values = thumbnail.astype(np.float32)
    values -= gaussian_filter(values, 2)
    values /= np.sqrt(gaussian_filter(values**2, 4)) + 2
    values -= values.mean()
    return values / max(np.linalg.norm(values), 1e-9)
