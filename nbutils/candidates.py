"""What is compared: from texture histograms to networks, each a judge of a trial's test images."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import answering, data, metrics, models, splits, texture, training, transfer
from nbutils.paths import UserError
from nbutils.predict import load_predictor
from nbutils.predictor import Predictor
from nbutils.protocols import Trial

STRENGTH = 0.1  # of each head, as `transfer.classifier` takes it

Judge = Callable[[Trial], dict[str, np.ndarray]]  # model -> class numbers of the test images


def lbp(squares: np.ndarray, numbers: np.ndarray) -> Judge:
    """Judge by local binary patterns and a support vector machine: before there were CNNs."""
    histograms = texture.describe(squares)

    def judge(trial: Trial) -> dict[str, np.ndarray]:
        model = texture.classifier().fit(histograms[trial.train], numbers[trial.train])
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

    Raises
    ------
    UserError
        If a run was tested on other images than the fixed protocol's.
    """
    tested = set(table.loc[table["part"] == "test", "path"])
    for run in runs:
        if set(metrics.read_predictions(run)["path"]) != tested:
            raise UserError(f"{run} was tested on other images: train it on the same split")

    def judge(trial: Trial) -> dict[str, np.ndarray]:
        if trial.protocol == "fixed":
            return _asked(load_predictor(runs[trial.repeat]), table.iloc[trial.test])
        place = folder.with_name(f"{folder.name}_{trial.protocol}_{trial.per_class}_{trial.repeat}")
        return _trained(table, classes, place, trial)

    return judge


def _trained(table: pd.DataFrame, classes: list[str], folder: Path, trial: Trial) -> dict:
    """Train on a trial's training part, a block of it left out to choose the epoch by."""
    learning = table.iloc[trial.train].reset_index(drop=True)
    held = splits.carve_validation(learning, trial.repeat)
    learning["part"] = np.where(held, "validation", "train")
    size = models.default_size(models.CUSTOM)
    arrays = [data.read_arrays(learning, part, classes, size) for part in ("train", "validation")]
    training.set_seeds(trial.repeat)
    model = models.custom_cnn(len(classes), seed=trial.repeat)
    settings = training.recipe(models.CUSTOM, seed=trial.repeat)
    training.fit(model, *arrays, folder, settings)
    shutil.rmtree(folder)
    return _asked(answering.predictor(model, classes, models.CUSTOM), table.iloc[trial.test])


def _asked(predictor: Predictor, images: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the answers at one view and at eight."""
    squares = data.read_images(images, predictor.size)
    answers = {}
    for views, name in ((1, models.CUSTOM), (8, f"{models.CUSTOM} x8")):
        predictor.views = views
        answers[name] = predictor.answers(squares)[0].argmax(axis=1)
    return answers
