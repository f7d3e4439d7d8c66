"""What is compared: from texture histograms to networks, each a judge of a trial's test images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from skimage.feature import local_binary_pattern
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from tqdm.auto import tqdm

from nbutils import data, metrics, models, splits, training, transfer
from nbutils.paths import UserError
from nbutils.protocols import Trial

RADII = (1, 2, 3)  # pixels, of local binary patterns
LBP_SIZE = 200  # pixels, side of the images they are taken from
STRENGTH = 0.1  # of each head, as `transfer.classifier` takes it

Judge = Callable[[Trial], dict[str, np.ndarray]]  # model -> class numbers of the test images


def lbp_features(squares: np.ndarray) -> np.ndarray:
    """Describe texture by histograms of local binary patterns at three radii.

    Rotation invariant uniform patterns (Ojala, Pietikäinen, Mäenpää, IEEE TPAMI 24, 2002).

    Parameters
    ----------
    squares
        uint8, shape (images, size, size, 1).

    Returns
    -------
    float array (images, 54): three histograms, each of sum 1.
    """
    bar = tqdm(squares[..., 0], desc="Local binary patterns", unit="image", leave=False)
    return np.stack(
        [np.concatenate([_histogram(gray, radius) for radius in RADII]) for gray in bar]
    )


def lbp_svm() -> GridSearchCV:
    """Build the classifier of histograms; its penalty is chosen within the training part."""
    svm = make_pipeline(StandardScaler(), SVC())
    return GridSearchCV(svm, {"svc__C": [1, 10, 100]}, cv=2)


def texture(squares: np.ndarray, numbers: np.ndarray) -> Judge:
    """Judge by local binary patterns and a support vector machine: before there were CNNs."""
    histograms = lbp_features(squares)

    def judge(trial: Trial) -> dict[str, np.ndarray]:
        model = lbp_svm().fit(histograms[trial.train], numbers[trial.train])
        return {"lbp_svm": model.predict(histograms[trial.test])}

    return judge


def frozen(name: str, views: np.ndarray, numbers: np.ndarray) -> Judge:
    """Judge by a head on frozen features, at one view and with eight averaged.

    Parameters
    ----------
    name
        Of the model; ` x8` is added for eight views.
    views
        As `transfer.features` returns them.
    numbers
        Class numbers of the images.
    """

    def judge(trial: Trial) -> dict[str, np.ndarray]:
        head = transfer.fit(transfer.classifier(STRENGTH), views[trial.train], numbers[trial.train])
        tested = views[trial.test]
        return {
            name: transfer.probabilities(head, tested[:, :1]).argmax(axis=1),
            f"{name} x8": transfer.probabilities(head, tested).argmax(axis=1),
        }

    return judge


def custom_cnn(table: pd.DataFrame, classes: list[str], folder: Path, runs: list[Path]) -> Judge:
    """Judge by the custom CNN: by finished runs on the fixed split, or trained here.

    Parameters
    ----------
    table
        As `splits.read_split` returns it.
    classes
        Names, in order of their numbers.
    folder
        Receives a training's files until it is over.
    runs
        Of `02_training`, one for each repeat of the fixed protocol.
    """

    def judge(trial: Trial) -> dict[str, np.ndarray]:
        if trial.protocol == "fixed":
            return {models.CUSTOM: _predicted(runs[trial.repeat], table, trial, classes)}
        return {models.CUSTOM: _trained(table, classes, folder, trial)}

    return judge


def _histogram(gray: np.ndarray, radius: int) -> np.ndarray:
    codes = local_binary_pattern(gray, 8 * radius, radius, method="uniform")
    return np.bincount(codes.astype(int).ravel(), minlength=8 * radius + 2) / codes.size


def _predicted(run: Path, table: pd.DataFrame, trial: Trial, classes: list[str]) -> np.ndarray:
    """Take a run's predictions of a trial's test images, which it must not have learned from."""
    found = metrics.read_predictions(run).set_index("path")["predicted"]
    paths = table["path"].iloc[trial.test]
    if set(found.index) != set(paths):
        raise UserError(f"{run} was tested on other images: train it on the fixed split")
    return found[paths].map(classes.index).to_numpy()


def _trained(table: pd.DataFrame, classes: list[str], folder: Path, trial: Trial) -> np.ndarray:
    """Train on a trial's training part, a block of it left out to choose the epoch by."""
    learning = table.iloc[trial.train].reset_index(drop=True)
    held = splits.carve_validation(learning, trial.repeat)
    size = models.default_size(models.CUSTOM)
    arrays = [
        (data.read_images(rows, size), rows["label"].map(classes.index).to_numpy())
        for rows in (learning[~held], learning[held])
    ]
    training.set_seeds(trial.repeat)
    model = models.custom_cnn(len(classes), seed=trial.repeat)
    settings = training.recipe(models.CUSTOM, seed=trial.repeat)
    training.fit(model, *arrays, folder, settings)
    tested = data.read_images(table.iloc[trial.test], size)
    return model.predict(tested, batch_size=8, verbose=0).argmax(axis=1)
