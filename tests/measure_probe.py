"""Measure the linear probe of frozen features: few images a class, and unequal classes.

python tests/measure_probe.py NEU-DET MT

The two folders are those of the data sets. Prints the learning curve of NEU-DET at 5 and 10 images
a class, 20 draws from images 1-240, tested on images 241-300; and a stratified five-fold of MT,
each figure at one view and averaged over four or all eight. Then the five-fold again, by how many
views of a corrupted copy the probe is fitted to as well, tested on the images and on other
corrupted copies.
"""

import sys
from itertools import product

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, train_test_split

from nbutils.data import corruptions, datasets, splits
from nbutils.evaluation import comparison, metrics, protocols
from nbutils.models import features, linear_probe, networks

SIZES, N_DRAWS, N_FOLDS = (5, 10), 20, 5
HELD_OUT = 0.15  # share of the images of a fold that a temperature is fitted on
VIEWS = (1, 4, 8)  # averaged at prediction
CORRUPTED_VIEWS = (0, 2, 4, 8)  # that a probe is fitted to


def read(folder: str, copies: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Return the table of a data set, its class numbers, and its features in eight views.

    Those of corrupted copies follow those of all images.
    """
    table = datasets.index_images(folder)
    size = networks.input_size("mobilenet_v2")
    model = networks.pretrained("mobilenet_v2", 2, 0, size, comparison.ALPHA)
    extractor = networks.feature_extractor(model)
    y = pd.factorize(table["label"], sort=True)[0]
    images = datasets.read_images(table, size)
    images, _ = corruptions.with_corrupted_copies(images, y, 1.0, copies, seed=0)
    return table, y, features.extract(extractor, images)


def learning_curve(folder: str) -> pd.DataFrame:
    """Return `protocols.summarize` of NEU-DET with few images a class."""
    table, y, views = read(folder)
    table["part"] = splits.make_split(table, "fixed", seed=0)
    folds = list(protocols.learning_curve(table, SIZES, N_DRAWS, seed=0))

    def predict(fold: protocols.Fold, n_views: int) -> np.ndarray:
        probe = linear_probe.fit(views[fold.train], y[fold.train])
        return linear_probe.predict_proba(probe, views[fold.test, :n_views]).argmax(axis=1)

    rows = [
        protocols.run(folds, f"{count} views", lambda fold, count=count: predict(fold, count), y)
        for count in VIEWS
    ]
    return protocols.summarize(pd.concat(rows, ignore_index=True))


def cross_validate(folder: str) -> pd.DataFrame:
    """Return accuracy, its Wilson interval and macro-F1 of a stratified five-fold."""
    _, y, views = read(folder)
    predicted = {count: np.empty_like(y) for count in VIEWS}
    for train, test in StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(y, y):
        probe = linear_probe.fit(views[train], y[train])
        for count, labels in predicted.items():
            labels[test] = linear_probe.predict_proba(probe, views[test, :count]).argmax(axis=1)
    rows = {}
    for count, labels in predicted.items():
        low, high = metrics.wilson(int((labels == y).sum()), len(y))
        macro_f1 = f1_score(y, labels, average="macro")
        rows[f"{count} views"] = (accuracy_score(y, labels), low, high, macro_f1)
    return pd.DataFrame.from_dict(rows, "index", columns=["accuracy", "low", "high", "macro_f1"])


def corrupted_copies(folder: str) -> pd.DataFrame:
    """Return accuracies of a stratified five-fold, by the views of corrupted copies."""
    _, y, views = read(folder, copies=2)
    clean, fitted, tested = np.split(views, 3)
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(y, y))
    rows = []
    for count, n_views in product(CORRUPTED_VIEWS, VIEWS):
        of_both = np.concatenate([clean, fitted[:, :count]], axis=1)
        right = np.empty((2, len(y)))
        for train, test in folds:
            probe = fit_calibrated(of_both[train], y[train], n_views)
            for row, held_out in zip(right, (clean[test], tested[test]), strict=True):
                probabilities = linear_probe.predict_proba(probe, held_out[:, :n_views])
                row[test] = probabilities.argmax(axis=1) == y[test]
        rows.append((count, n_views, *right.mean(axis=1)))
    return pd.DataFrame(rows, columns=["corrupted views", "averaged", "clean", "corrupted"])


def fit_calibrated(views: np.ndarray, y: np.ndarray, n_views: int) -> linear_probe.LinearProbe:
    """Fit a probe, with the temperature of another one that a part of the images calibrates."""
    most, others = train_test_split(
        np.arange(len(y)), test_size=HELD_OUT, random_state=0, stratify=y
    )
    partial = linear_probe.fit(views[most], y[most])
    temperature = linear_probe.calibrate(partial, views[others, :n_views], y[others])
    probe = linear_probe.fit(views, y)
    probe.kernel_, probe.bias_ = probe.kernel_ / temperature, probe.bias_ / temperature
    return probe


if __name__ == "__main__":
    print(cross_validate(sys.argv[2]).round(4).to_string())
    print(learning_curve(sys.argv[1]).round(4).to_string(index=False))
    print(corrupted_copies(sys.argv[2]).round(4).to_string(index=False))
