"""Keras models as predictors, and as files for the LiteRT runtime."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nbutils import disk, runs
from nbutils.data import datasets, splits
from nbutils.inference.predictor import BACKENDS, Predictor, load_predictor
from nbutils.models import defect_head, networks
from nbutils.models.layers import PowerNormalization
from nbutils.models.litert import LiteRTNetwork, write_litert
from nbutils.runtime import keras
from nbutils.uncertainty.calibration import calibration_metrics

layers, ops = keras.layers, keras.ops


def in_one_row(model: keras.Model) -> keras.Model:
    """Return the network whose output is one row an image: probabilities, embedding, cells.

    The embedding is what novelty is measured in: mean and deviation of the channels in the middle
    of the network. Cells are there if the network has a head for them.
    """
    maps = model.get_layer(networks.middle_maps(defect_head.classifier(model))).output
    moments = [ops.mean(maps, axis=(1, 2)), ops.std(maps, axis=(1, 2))]
    embedding = PowerNormalization()(ops.concatenate(moments, axis=-1))
    cells = [layers.Flatten()(output) for output in model.outputs[1:]]
    return keras.Model(model.inputs, ops.concatenate([model.outputs[0], embedding, *cells], -1))


def keras_predictor(model: keras.Model, classes: Sequence[str], **facts: Any) -> Predictor:
    """Make a predictor of a Keras model; the facts are the other fields of `Predictor`."""
    network = partial(map, in_one_row(model).predict_on_batch)
    return Predictor(network, classes, size=model.input_shape[1], model=model, **facts)


def to_litert(predictor: Predictor, file: Path) -> Predictor:
    """Write a Keras predictor's network to a `.tflite` file; return the predictor that runs it."""
    write_litert(in_one_row(predictor.model), file)
    return replace(predictor, network=LiteRTNetwork(file).map)


def export(model: Path) -> pd.DataFrame:
    """Write the `.tflite` file of a model, and how it compares with Keras to `export.csv`.

    The folder lies in a run with a split, whose test images are compared. Returns `compare`. Raises
    UserError while another process trains the model.
    """
    with disk.locked(model):
        predictor = load_predictor(model, "keras")
        split = splits.read_split(model.parent)
        split = split[split["label"].isin(predictor.classes)]  # one may be held out of training
        (model / runs.EXPORT).unlink(missing_ok=True)  # it is of the file before
        to_litert(predictor, model / runs.LITERT_MODEL)
        table = compare(model, split[split["part"] == "test"])
        runs.write_csv(table, model / runs.EXPORT)
    return table


def compare(model: Path, test: pd.DataFrame) -> pd.DataFrame:
    """Hold every backend of a model against Keras on test images.

    Returns
    -------
    One row for each of `BACKENDS`: backend, accuracy, ece, accepted (shares), agreement (share of
    images with the label that Keras gives), difference (largest, of a probability) and size_mb.
    """
    rows, expected = [], None
    for backend, file in BACKENDS.items():
        predictor = load_predictor(model, backend)
        predictions = predictor.predict_arrays(datasets.read_images(test, predictor.size))
        probabilities = np.array([list(each.probabilities.values()) for each in predictions])
        y = test["label"].map(predictor.classes.index).to_numpy()
        expected = probabilities if expected is None else expected
        facts = {
            "accepted": np.mean([each.decision == "accept" for each in predictions]),
            "agreement": np.mean(probabilities.argmax(axis=1) == expected.argmax(axis=1)),
            "difference": np.abs(probabilities - expected).max(),
            "size_mb": (model / file).stat().st_size / 2**20,
        }
        rows.append({"backend": backend, **calibration_metrics(probabilities, y), **facts})
    return pd.DataFrame(rows).drop(columns=["confidence", "brier", "log_loss"])
