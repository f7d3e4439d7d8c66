"""Compare models, from texture histograms to networks: candidates, protocols, costs."""

import shutil
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nbutils import disk, runs
from nbutils.data import datasets, splits
from nbutils.disk import UserError
from nbutils.evaluation import latency, metrics, protocols
from nbutils.evaluation.protocols import Candidate, Fold
from nbutils.inference import export
from nbutils.inference.predictor import Predictor, load_predictor
from nbutils.models import features, lbp_svm, linear_probe, networks, training
from nbutils.runtime import keras, parallel_map

LBP = "lbp_svm"
ALPHA = 0.35  # width of mobilenet_v2
N_TIMED = 48  # images that the time of features is measured on


def finished_models(run: Path, names: str) -> list[Path]:
    """Return the folders of those models of a run, with commas between, that have predictions."""
    finished = []
    for folder in (run / name for name in runs.parse_list(names)):
        if (folder / runs.PREDICTIONS).exists():
            finished.append(folder)
        else:
            notebook = runs.WRITTEN_BY[runs.PREDICTIONS]
            print(f"{folder} has no {runs.PREDICTIONS} and is left out: run {notebook} for it")
    return finished


def make_candidates(
    names: Iterable[str], table: pd.DataFrame, y: np.ndarray, folder: Path, models: list[Path]
) -> dict[str, Candidate]:
    """Prepare candidates by name; each trains on a fold and predicts its test images at one view.

    One whose weights or trained models are missing is left out with a sentence.

    Parameters
    ----------
    names
        `lbp_svm`, `custom_cnn`, or any backbone of `networks.pretrained`.
    table, y
        The images as `splits.read_split` returns them, and their class numbers.
    folder
        Of the comparison.
    models
        Trained custom CNNs, one for each repeat of the fixed split.
    """
    candidates = {}
    for name in names:
        try:
            if name == LBP:
                candidates[name] = lbp_candidate(table, y)
            elif name == networks.CUSTOM_CNN:
                candidates[name] = cnn_candidate(table, folder / "training", models)
            else:
                candidates[name] = probe_candidate(name, table, y)
        except UserError as error:
            print(f"{name} is left out: {error}")
    return candidates


def lbp_candidate(table: pd.DataFrame, y: np.ndarray) -> Candidate:
    """Return the candidate from before CNNs: local binary patterns, support vector machine."""
    histograms = lbp_svm.cached_histograms(datasets.read_images(table, lbp_svm.SIZE))

    def predict(fold: Fold) -> np.ndarray:
        classifier = lbp_svm.make_classifier().fit(histograms[fold.train], y[fold.train])
        return classifier.predict(histograms[fold.test])

    return predict


def probe_candidate(name: str, table: pd.DataFrame, y: np.ndarray) -> Candidate:
    """Return a linear probe on a frozen backbone: trained on all views, it predicts from one."""
    extractor = networks.feature_extractor(_pretrained(name, classes=2))
    views = features.extract(extractor, datasets.read_images(table, extractor.input_shape[1]))

    def predict(fold: Fold) -> np.ndarray:
        probe = linear_probe.fit(views[fold.train], y[fold.train])
        return linear_probe.predict_proba(probe, views[fold.test, :1]).argmax(axis=1)

    return predict


def cnn_candidate(table: pd.DataFrame, folder: Path, models: list[Path]) -> Candidate:
    """Return the custom CNN: trained models on the fixed split, trained here under others.

    Arguments are those of `make_candidates`, but the folder receives a training's files until it is
    over. Raises UserError if there is no trained model, or one was tested on other images than the
    fixed protocol's.
    """
    if not models:
        raise UserError(f"the run has no trained one: run {runs.WRITTEN_BY[runs.KERAS_MODEL]}")
    tested = set(table.loc[table["part"] == "test", "path"])
    for model in models:
        if set(metrics.read_predictions(model)["path"]) != tested:
            raise UserError(f"{model} was tested on other images: train it on the same split")
        network = runs.read_json(model / runs.MODEL_CARD).get("model")
        if network != networks.CUSTOM_CNN:
            raise UserError(f"{model} is a {network}: name a {networks.CUSTOM_CNN}")

    def predict(fold: Fold) -> np.ndarray:
        if fold.protocol == protocols.FIXED and fold.repeat < len(models):
            predictor = load_predictor(models[fold.repeat], "keras")
        else:
            name = f"{folder.name}_{fold.protocol}_{fold.n_per_class}_{fold.repeat}"
            predictor = _train(table.iloc[fold.train], folder.with_name(name), fold.repeat)
        images = datasets.read_images(table.iloc[fold.test], predictor.size)
        return predictor.forward(images, tta_views=1).probabilities.argmax(axis=1)

    return predict


def run_protocols(
    plan: dict[str, list[str]],
    folds: dict[str, list[Fold]],
    candidates: dict[str, Candidate],
    y: np.ndarray,
    scheduler: str = "",
) -> pd.DataFrame:
    """Evaluate candidates under protocols; return `protocols.run` of them all.

    The plan names the candidates of each protocol. Those that are missing are passed over, as are
    protocols without folds; UserError if nothing remains. Folds run in parallel: see `parallel_map`
    for the scheduler.
    """
    apply = partial(parallel_map, scheduler=scheduler)
    steps = [(key, name) for key in folds for name in plan[key] if name in candidates]
    if not steps:
        raise UserError("nothing to compare: name models in FIXED, BLOCKED, HOLDOUT or CURVE")
    bar = tqdm(steps, desc="Comparing", unit="candidate", leave=False)
    tables = [protocols.run(folds[key], name, candidates[name], y, apply) for key, name in bar]
    return pd.concat(tables, ignore_index=True)


def measure_costs(
    names: Iterable[str], table: pd.DataFrame, y: np.ndarray, folder: Path, models: list[Path]
) -> pd.DataFrame:
    """Measure what candidates cost that are trained on the fixed split, all run by Keras.

    Arguments are those of `make_candidates`, names those of its result. Pretrained ones are saved
    to `models/` of the folder; the custom CNN is the first of the trained ones. Index model;
    parameters, file_mb, training_s, and what `latency.measure` returns.
    """
    [fold] = protocols.fixed(table)
    train, train_y = table.iloc[fold.train], y[fold.train]
    costs, timed = {}, []
    for name in tqdm(names, desc="Measuring costs", unit="candidate", leave=False):
        if name == LBP:
            costs[name], loader = _costs_of_lbp(train, train_y)
        elif name == networks.CUSTOM_CNN:
            seconds = runs.read_json(models[0] / runs.METRICS)["training_seconds"]
            costs[name], loader = _costs_of_model(models[0], seconds)
        else:
            model = folder / "models" / name
            costs[name], loader = _costs_of_model(model, _save_probe(name, train, train_y, model))
        timed.append(latency.measure({name: loader}, table["path"].iloc[fold.test].tolist()))
    measured = pd.DataFrame.from_dict(costs, orient="index").join(pd.concat(timed))
    return measured.rename_axis("model")


def summarize(accuracy: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Join accuracies (`protocols.summarize`) and costs (`measure_costs`), one row a model.

    Accuracy, low, high and balanced accuracy are by a protocol: the blocked one where the model
    took part in it, else the fixed one. All accuracies are in `<protocol>_<images a class>`.
    """
    wide = accuracy.pivot_table("accuracy", "model", ["protocol", "n_per_class"], sort=False)
    wide.columns = wide.columns.map("{0[0]}_{0[1]}".format)
    order = (protocols.BLOCKED, protocols.FIXED)
    ranked = pd.concat([accuracy[accuracy["protocol"] == protocol] for protocol in order])
    chosen = ranked.drop_duplicates("model").set_index("model")
    shown = ["accuracy", "low", "high", "balanced_accuracy", "protocol"]
    return chosen[shown].join(costs).join(wide)


def _pretrained(name: str, classes: int) -> keras.Model:
    size = networks.input_size(name)
    return networks.pretrained(name, classes, 0, size, ALPHA, substitute=False)


def _train(rows: pd.DataFrame, folder: Path, seed: int) -> Predictor:
    """Train the custom CNN on rows of a split, a block of them held out to choose the epoch."""
    rows = rows.reset_index(drop=True)
    is_validation = splits.carve_validation(rows, seed)
    rows["part"] = np.where(is_validation, "validation", "train")
    classes, size = sorted(rows["label"].unique()), networks.input_size(networks.CUSTOM_CNN)
    train, validation = (
        datasets.read_part(rows, part, classes, size) for part in ("train", "validation")
    )
    training.set_seeds(seed)
    model = networks.custom_cnn(len(classes), seed, size)
    settings = training.recipe(networks.CUSTOM_CNN, seed=seed)
    model.compile(
        optimizer=training.make_optimizer(settings),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    training.fit(model, train, validation, folder, settings)
    disk.unlock(folder)  # which `save_model` does, for models that are kept
    shutil.rmtree(folder)
    return export.keras_predictor(model, classes, name=networks.CUSTOM_CNN)


def _save_probe(name: str, train: pd.DataFrame, y: np.ndarray, folder: Path) -> float:
    """Save a pretrained network with a linear probe; return the seconds that training takes."""
    classes = sorted(train["label"].unique())
    model = _pretrained(name, len(classes))
    extractor = networks.feature_extractor(model)
    images = datasets.read_images(train, model.input_shape[1])
    views = features.extract(extractor, images)
    start = time.perf_counter()
    features.compute(extractor, images[:N_TIMED])
    seconds = (time.perf_counter() - start) / len(images[:N_TIMED]) * len(images)
    start = time.perf_counter()
    linear_probe.set_head(model, linear_probe.fit(views, y))
    seconds += time.perf_counter() - start
    training.save_model(model, {"model": name, "classes": classes}, folder)
    return seconds


def _costs_of_model(model: Path, seconds: float) -> tuple[dict, latency.Loader]:
    costs = {
        "parameters": runs.read_json(model / runs.MODEL_CARD)["parameters"],
        "file_mb": (model / runs.KERAS_MODEL).stat().st_size / 2**20,
        "training_s": seconds,
    }
    return costs, partial(latency.load_model, str(model), "keras", tta_views=1)


def _costs_of_lbp(train: pd.DataFrame, y: np.ndarray) -> tuple[dict, latency.Loader]:
    images = datasets.read_images(train, lbp_svm.SIZE)
    start = time.perf_counter()
    classifier = lbp_svm.make_classifier().fit(lbp_svm.compute(images), y)
    seconds = time.perf_counter() - start
    svm = classifier.best_estimator_[-1]
    size = svm.support_vectors_.size + svm.dual_coef_.size + svm.intercept_.size
    costs = {"parameters": size, "file_mb": 8 * size / 2**20, "training_s": seconds}
    return costs, partial(latency.load_lbp, classifier)
