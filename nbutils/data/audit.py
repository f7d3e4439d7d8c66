"""Audit of a data set: counts, near-duplicates, sequential classes, intensity and texture."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import fft
from scipy.ndimage import gaussian_filter
from scipy.stats import mannwhitneyu, median_abs_deviation
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbutils import runs
from nbutils.data.datasets import read_originals
from nbutils.data.images import image_statistics, resize

THUMBNAIL = 50  # pixels
PADDED = 80  # pixels, zero-padded so that shifts of up to 30 do not wrap around
MIN_CORRELATION = 0.7  # of thumbnails that count as near-duplicates
WINDOW = 300  # images of its class that each is compared with
MIN_CLASS = 20  # images; fewer are called tiny
MAX_CLIPPED = 0.1  # of the pixels of a well exposed image
MAX_DISTANCE = 4.0  # robust standard deviations above the median, of an image far from its class
MIN_PAIRS = 20  # of neighbouring images, to tell whether they look alike
MIN_PROBABILITY = 0.6  # that neighbours look more alike than a random pair; 0.5 is chance


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
        "normal_classes": table.attrs["normal_classes"],
        "bit_depth": table.attrs["bit_depth"],
        "skipped": table.attrs["skipped"],
        "notes": table.attrs["notes"],
        "boxes": table.attrs["boxes"],
        "identical": identical(table),
        "contradictions": contradictions(table).groupby("sha256")["path"].agg(list).tolist(),
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


def contradictions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of images whose pixels are under two labels, copies one after the other."""
    is_double = table.groupby("sha256")["label"].transform("nunique") > 1
    return table[is_double].sort_values("sha256", kind="stable")


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
    DataFrame on the table's index: brightness, contrast and sharpness (`image_statistics`), border
    (mean gray value of the outermost pixels), and clipped (share of pixels that are 0 or 255); and
    the thumbnails, uint8, shape (images, 50, 50).
    """
    rows, thumbnails = [], []
    for gray in read_originals(table):
        thumbnails.append(resize(gray, THUMBNAIL)[..., 0])
        border = np.concatenate([gray[0], gray[-1], gray[1:-1, 0], gray[1:-1, -1]])
        rows.append((*image_statistics(gray), border.mean(), np.isin(gray, (0, 255)).mean()))
    columns = ["brightness", "contrast", "sharpness", "border", "clipped"]
    return pd.DataFrame(rows, table.index, columns=columns), np.stack(thumbnails)


def near_duplicates(table: pd.DataFrame, thumbnails: np.ndarray) -> pd.DataFrame:
    """Find pairs of one class that show the same spot of steel, also shifted or relit.

    Thumbnails are high-pass filtered and normalised in local contrast, then cross-correlated at
    every shift (zero-padded FFT), so that crops that overlap by most of their area are found too.
    Each image is compared with the `WINDOW` others of its class whose amplitude spectra are most
    alike. Images with the same pixels count whatever their classes are.

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
    rows = _same_pixels(table)
    for of_class in table.reset_index().groupby("label").indices.values():
        spectra = _spectra(thumbnails[of_class])
        amplitudes = _amplitudes(spectra)
        bounds = np.triu(amplitudes @ amplitudes.T, 1)  # no shift correlates better
        for one in range(len(of_class) - 1):
            others = np.argsort(-bounds[one])[:WINDOW]
            others = others[bounds[one, others] >= MIN_CORRELATION]
            rows += [
                (table.index[of_class[one]], table.index[of_class[other]], correlation)
                for other, correlation in zip(others, _correlate(spectra, one, others), strict=True)
                if correlation >= MIN_CORRELATION
            ]
    pairs = pd.DataFrame(rows, columns=["a", "b", "correlation"]).drop_duplicates(["a", "b"])
    return pairs.sort_values("correlation", ascending=False, ignore_index=True)


def sequential_classes(
    table: pd.DataFrame, thumbnails: np.ndarray, pairs: pd.DataFrame
) -> list[str]:
    """Return the classes in which images of neighbouring numbers look clearly alike.

    Their fine detail is correlated as in `near_duplicates`, and compared with that of random pairs
    of the class (Mann and Whitney's test, one-sided, p < 0.001). Near-duplicates are left out of
    both, since a split keeps them together anyway.

    Parameters
    ----------
    table, thumbnails
        As in `near_duplicates`.
    pairs
        As `near_duplicates` returns them.
    """
    known = set(zip(pairs["a"], pairs["b"], strict=True))
    order = np.argsort(table["number"].to_numpy(), kind="stable")
    by_class = table.iloc[order].reset_index().groupby("label").indices
    return [
        str(label)
        for label, rows in by_class.items()
        if _neighbours_look_alike(
            _spectra(thumbnails[order[rows]]), table.index[order[rows]], known
        )
    ]


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


def distances_to_class(features: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return how far each image is from the others of its class: (images,), 1 on average.

    Mahalanobis distances of principal components, each fifth of the images held out in turn, by one
    covariance of all classes (Ledoit and Wolf's shrinkage).

    Parameters
    ----------
    features
        Shape (images, channels), of a frozen backbone.
    y
        Class numbers (int) from 0 without a gap, at least two images a class.
    """
    distances = np.empty(len(y))
    folds = StratifiedKFold(min(5, int(np.bincount(y).min())), shuffle=True, random_state=0)
    for others, held_out in folds.split(features, y):
        n_components = min(50, len(others) // 2, features.shape[1])
        scale = make_pipeline(StandardScaler(), PCA(n_components, random_state=0))
        known = scale.fit_transform(features[others])
        centers = np.stack([known[y[others] == number].mean(axis=0) for number in np.unique(y)])
        covariance = LedoitWolf(assume_centered=True).fit(known - centers[y[others]])
        deviations = scale.transform(features[held_out]) - centers[y[held_out]]
        distances[held_out] = np.sqrt(covariance.mahalanobis(deviations) / n_components)
    return distances / distances.mean()


def findings(
    table: pd.DataFrame,
    part: pd.Series,
    pairs: pd.DataFrame,
    measures: pd.DataFrame,
    suspects: pd.DataFrame | None = None,
    shortcuts: pd.DataFrame | None = None,
    distances: np.ndarray | None = None,
) -> list[str]:
    """List what to mend before training, a sentence each, most harmful first.

    Parameters
    ----------
    table, part, pairs, measures
        As in `summarize`; measures as `measure_texture` returns them.
    suspects
        As `label_errors.rank` returns them, for the images of the table in their order.
    shortcuts
        As `shortcuts.find` returns them.
    distances
        As `distances_to_class` returns them.
    """
    lines = _list_images(
        "images have a copy in another class, remove the wrong one:", contradictions(table)
    )
    crossing = across(pairs, part)
    if len(crossing):
        lines.append(
            f"{len(crossing)} pairs of near-duplicates have one image in the test part and one "
            "outside it, which inflates test accuracy: SPLIT grouped separates none of a class "
            "that has enough groups"
        )
    if suspects is not None:
        rows = table.iloc[suspects.index[suspects["is_issue"]]]
        lines += _list_images("labels may be wrong, look at", rows)
    if shortcuts is not None:
        lines += shortcuts["sentence"].tolist()
    lines += _tiny_classes(table)
    clipped = f"images have over {MAX_CLIPPED:.0%} pure black or white pixels, check the exposure:"
    lines += _list_images(clipped, table[measures["clipped"] > MAX_CLIPPED])
    lines += _mixed_sizes(table)
    if distances is not None:
        lines += _list_images("images look unlike the rest of their class:", _far(table, distances))
    return lines


def _tiny_classes(table: pd.DataFrame) -> list[str]:
    counts = table["label"].value_counts().sort_index()
    tiny = [f"{label} ({count})" for label, count in counts[counts < MIN_CLASS].items()]
    if not tiny:
        return []
    names = runs.first_names(tiny)
    return [f"tiny classes, whose results will vary much: {names}; add images"]


def _far(table: pd.DataFrame, distances: np.ndarray) -> pd.DataFrame:
    """Return the rows far from their class, by the median absolute deviation, farthest first."""
    deviation = median_abs_deviation(distances, scale="normal")
    limit = np.median(distances) + MAX_DISTANCE * deviation
    return table.iloc[np.argsort(-distances)[: int((distances > limit).sum())]]


def _mixed_sizes(table: pd.DataFrame) -> list[str]:
    """Report aspect ratios that differ, as images are squeezed into the model's square."""
    ratios = table["width"] / table["height"]
    if ratios.max() / ratios.min() <= 1.5:
        return []
    return [
        f"sizes are mixed: width over height is {ratios.min():.2g} to {ratios.max():.2g}, and "
        "images are squeezed into a square: crop them alike"
    ]


def _list_images(what: str, rows: pd.DataFrame) -> list[str]:
    """Return a line on images with the first of them; none where there are no rows."""
    if rows.empty:
        return []
    pairs = zip(rows["label"], rows["path"], strict=True)
    names = [f"{label}/{Path(path).name}" for label, path in pairs]
    return [f"{len(rows)} {what} {runs.first_names(names)}"]


def _neighbours_look_alike(spectra: np.ndarray, names: pd.Index, known: set[tuple]) -> bool:
    """Compare consecutive images of a class with random pairs, those of `known` left out."""
    n_images = len(spectra)
    neighbours = np.stack([np.arange(n_images - 1), np.arange(1, n_images)], axis=1)
    drawn = np.random.default_rng(0).integers(0, n_images, (4 * n_images, 2))
    samples = []
    for chosen in (neighbours, drawn[np.abs(drawn[:, 0] - drawn[:, 1]) > 1]):
        ends = ((names[a], names[b]) for a, b in chosen)
        is_new = [(a, b) not in known and (b, a) not in known for a, b in ends]
        samples.append([_correlate(spectra, a, [b])[0] for a, b in chosen[np.array(is_new, bool)]])
    n_pairs = [len(sample) for sample in samples]
    if min(n_pairs) < MIN_PAIRS:
        return False
    test = mannwhitneyu(*samples, alternative="greater")
    probability = test.statistic / n_pairs[0] / n_pairs[1]
    return bool(probability >= MIN_PROBABILITY and test.pvalue < 0.001)


def _same_pixels(table: pd.DataFrame) -> list[tuple]:
    """Return each image with the next one of the same pixels: (a, b, 1.0)."""
    groups = table.index.groupby(table["sha256"]).values()
    return [(a, b, 1.0) for group in groups for a, b in pairwise(group)]


def _spectra(thumbnails: np.ndarray) -> np.ndarray:
    """Return the Fourier transforms of the thumbnails' fine detail, zero-padded: complex64."""
    details = np.stack([_details(thumbnail) for thumbnail in thumbnails])
    return fft.rfft2(details, (PADDED, PADDED))


def _amplitudes(spectra: np.ndarray) -> np.ndarray:
    """Return amplitude spectra, flat, whose scalar products bound the correlations from above."""
    weights = np.full(spectra.shape[2], 2, np.float32)  # rfft leaves out the mirrored half
    weights[[0, -1]] = 1
    return (np.abs(spectra) * np.sqrt(weights) / PADDED).reshape(len(spectra), -1)


def _correlate(spectra: np.ndarray, one: int, others: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the highest correlation, of all shifts, of an image with others."""
    correlations = fft.irfft2(spectra[one].conj() * spectra[others], workers=-1)
    return correlations.max(axis=(1, 2))
