"""Shortcuts: classes that can be told by format, size or compression, and the way out."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from nbutils import disk
from nbutils.data.datasets import read_original
from nbutils.data.images import FORMATS, decode, pixel_hash, read_file
from nbutils.disk import UserError

FILE_FEATURES = {
    "width": "pixels wide",
    "height": "pixels high",
    "quantization": "coarse (mean step of the JPEG tables)",
}
APPEARANCE = ["brightness", "border", "sharpness"]  # of the surface, or of its light
N_FOLDS = 5
MIN_IMAGES = 5  # of a class
MIN_SCORE = 0.7  # balanced accuracy that is reported; 0.5 is chance
DEPTH = 3  # of the trees
WAY_OUT = "REENCODE makes all files alike"


def file_features(table: pd.DataFrame) -> pd.DataFrame:
    """Describe each file by what a model should not need, from its header alone.

    Returns
    -------
    On the table's index: format (of the content, whatever the name says), width and height
    (pixels), and quantization (mean of the JPEG's luminance table, 1 the finest, 0 for lossless
    files; bytes a pixel would tell the texture of the surface).
    """
    rows = []
    for path in table["path"]:
        with Image.open(path, formats=FORMATS) as image:
            tables = getattr(image, "quantization", {})
            rows.append((image.format, float(np.mean(tables[0])) if tables else 0.0))
    features = pd.DataFrame(rows, table.index, columns=["format", "quantization"])
    return features.join(table[["width", "height"]])


def find(table: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """Find the classes that a small decision tree tells by features of their files.

    The tree may also use brightness, border and sharpness: a class counts only if the feature that
    decides most is one of the file.

    Parameters
    ----------
    table
        As `datasets.index_images` returns it.
    measures
        As `audit.measure_texture` returns them.

    Returns
    -------
    One row a class that is told clearly better than by chance: class, feature, score
    (cross-validated balanced accuracy) and sentence, highest score first.
    """
    of_file, labels = file_features(table), table["label"]
    formats = pd.get_dummies(of_file["format"], prefix="format")
    inputs = of_file.drop(columns="format").join([formats, measures[APPEARANCE]]).astype(float)
    rows = []
    for label, count in labels.value_counts().sort_index().items():
        is_class = (labels == label).to_numpy()
        if min(count, len(labels) - count) < MIN_IMAGES:
            continue
        score, feature = _score(inputs, is_class)
        is_of_file = feature not in APPEARANCE
        if score >= max(MIN_SCORE, _chance_limit(is_class)) and is_of_file:
            sentence = _sentence(str(label), feature, of_file, is_class, score)
            rows.append((label, feature, score, f"{sentence}; {WAY_OUT}"))
    result = pd.DataFrame(rows, columns=["class", "feature", "score", "sentence"])
    return result.sort_values("score", ascending=False, ignore_index=True)


def reencode(table: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write all images alike: of one size, in one format, compressed as the coarsest class is.

    The size is that of the class with the smallest images (medians), since what is enlarged looks
    blurred. Where no class is compressed, the format is PNG, else JPEG.

    Parameters
    ----------
    table
        As `datasets.index_images` returns it.
    folder
        Of the copies; what is in it is removed.

    Returns
    -------
    The table with path, width, height, boxes and sha256 of the copies. Raises UserError if the
    images are copies themselves.
    """
    if any(Path(path).is_relative_to(folder) for path in table["path"]):
        raise UserError(f"{folder} holds copies already: name the folder of the originals")
    by_class = file_features(table).groupby(table["label"])
    width, height = (int(by_class[side].median().min()) for side in ("width", "height"))
    quality = _quality(by_class["quantization"].median().max())
    suffix = ".png" if quality is None else ".jpg"
    shutil.rmtree(folder, ignore_errors=True)
    rows = []
    for number, row in enumerate(table[["path", "sha256"]].itertuples(index=False)):
        copy = folder / f"{number:05d}_{Path(row.path).stem[:50]}{suffix}"
        with disk.atomic_write(copy) as tmp:
            image = Image.fromarray(read_original(*row))
            image.resize((width, height), Image.Resampling.BILINEAR).save(tmp, quality=quality)
        rows.append((str(copy), pixel_hash(decode(read_file(copy), str(copy)))))
    scales = width / table["width"], height / table["height"]
    boxes = [_scale(*item) for item in zip(table["boxes"], *scales, strict=True)]
    copies = pd.DataFrame(rows, table.index, columns=["path", "sha256"])
    return table.assign(boxes=boxes, width=width, height=height, **copies)


def _quality(quantization: float) -> int | None:
    """Return the highest JPEG quality whose mean step is `quantization` or more; None for 0."""
    if not quantization:
        return None
    for quality in range(100, 1, -1):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=quality)
        with Image.open(file) as image:
            if np.mean(image.quantization[0]) >= quantization:  # type: ignore[attr-defined]
                return quality
    return 1


def _scale(boxes: list, x: float, y: float) -> list:
    """Return boxes in the pixels of a scaled image, none of them empty, nor beyond it."""
    scaled = []
    for label, *edges in boxes:
        left, top, right, bottom = np.multiply(edges, (x, y, x, y)).round(6)
        scaled.append((label, int(left), int(top), int(np.ceil(right)), int(np.ceil(bottom))))
    return scaled


def _score(inputs: pd.DataFrame, is_class: np.ndarray) -> tuple[float, str]:
    """Return the tree's cross-validated balanced accuracy and its most important feature."""
    leaf = max(2, int(is_class.sum()) // 20)
    tree = DecisionTreeClassifier(
        max_depth=DEPTH, min_samples_leaf=leaf, class_weight="balanced", random_state=0
    )
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0)
    predicted = cross_val_predict(tree, inputs, is_class, cv=folds)
    importances = tree.fit(inputs, is_class).feature_importances_
    feature = inputs.columns[importances.argmax()]
    return float(balanced_accuracy_score(is_class, predicted)), feature


def _chance_limit(is_class: np.ndarray) -> float:
    """Return the balanced accuracy that guessing stays below (three standard errors)."""
    n_class = is_class.sum()
    return 0.5 + 3 * np.sqrt(1 / n_class + 1 / (len(is_class) - n_class)) / 4


def _sentence(
    label: str, feature: str, of_file: pd.DataFrame, is_class: np.ndarray, score: float
) -> str:
    """Say what gives a class away, and what a model may learn of it."""
    if feature in FILE_FEATURES:
        here, elsewhere = (of_file.loc[rows, feature].median() for rows in (is_class, ~is_class))
        return (
            f"{label} can be told by the file (balanced accuracy {score:.2f}): it is {here:.3g} "
            f"{FILE_FEATURES[feature]} where others are {elsewhere:.3g} (medians): a model may "
            f"learn the {'compression' if feature == 'quantization' else 'size'}"
        )
    name = feature.removeprefix("format_")
    is_format = (of_file["format"] == name).to_numpy()
    n_format, n_both = is_format.sum(), (is_format & is_class).sum()
    if n_both == n_format:
        return f"all {n_format} {name} files are of {label}: a model may learn the codec"
    return (
        f"{n_both} of {is_class.sum()} images of {label} are {name} files, {n_format - n_both} of "
        f"{(~is_class).sum()} others: a model may learn the codec"
    )
