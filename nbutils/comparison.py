"""The comparison's steps: candidates by name, their outcomes, and their costs."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nbutils import candidates, cost, data, models, paths, protocols, texture, training, transfer
from nbutils.candidates import STRENGTH, Judge
from nbutils.protocols import Trial

LBP, BOTH = "lbp_svm", "both"
JOINED = ("mobilenet_v2", "efficientnet_lite0")  # whose features `both` has
ALPHA = 0.35  # width of mobilenet_v2
TIMED = 48  # images by which the time of features is told


def words(text: str) -> list[str]:
    """Return the words of a parameter that holds several, with commas between."""
    return [word.strip() for word in text.split(",") if word.strip()]


def finished(names: str) -> list[Path]:
    """Return the folders of those runs, named with commas between, that have predictions."""
    found = []
    for folder in (paths.OUTPUTS / name for name in words(names)):
        if (folder / "predictions.csv").exists():
            found.append(folder)
        else:
            print(f"{folder} has no predictions.csv and is left out: run 02_training for it")
    return found


def judges(
    names: Iterable[str], table: pd.DataFrame, numbers: np.ndarray, run: Path, runs: list[Path]
) -> dict[str, Judge]:
    """Return the candidates by name.

    Parameters
    ----------
    names
        `lbp_svm`, `custom_cnn`, `both`, or any backbone of `models.pretrained`.
    table, numbers
        The images as `splits.read_split` returns them, and their class numbers.
    run
        Folder of the comparison.
    runs
        Finished runs of the custom CNN, one for each repeat of the fixed split.
    """
    found = {}
    for name in names:
        if name == LBP:
            found[name] = candidates.lbp(data.read_images(table, texture.SIZE), numbers)
        elif name == models.CUSTOM:
            classes = sorted(table["label"].unique())
            found[name] = candidates.custom_cnn(table, classes, run / "training", runs)
        else:
            views = [views_of(part, table) for part in (JOINED if name == BOTH else [name])]
            found[name] = candidates.frozen(name, np.concatenate(views, axis=-1), numbers)
    return found


def views_of(name: str, table: pd.DataFrame) -> np.ndarray:
    """Return a backbone's features of all images, as `transfer.features` does."""
    network = transfer.extractor(_pretrained(name, classes=2))
    return transfer.features(network, data.read_images(table, network.input_shape[1]))


def outcomes(
    plan: dict[str, list[str]],
    trials: dict[str, list[Trial]],
    judges: dict[str, Judge],
    numbers: np.ndarray,
    apply: Callable = map,
) -> pd.DataFrame:
    """Put the candidates of each protocol through its trials; as `protocols.run` does."""
    steps = [(protocol, name) for protocol, names in plan.items() for name in names]
    bar = tqdm(steps, desc="Comparing", unit="candidate", leave=False)
    return pd.concat(
        [protocols.run(trials[protocol], judges[name], numbers, apply) for protocol, name in bar],
        ignore_index=True,
    )


def costs(
    names: Iterable[str], table: pd.DataFrame, numbers: np.ndarray, run: Path, runs: list[Path]
) -> pd.DataFrame:
    """Measure what each candidate costs, trained on the fixed split; arguments as in `judges`.

    Pretrained ones are saved to `models/` of the run.

    Returns
    -------
    Index model; parameters, file_mb, training_s, and what `cost.measure` returns.
    """
    [trial] = protocols.fixed(table)
    files = [Path(path) for path in table["path"].iloc[trial.test[: cost.BATCH]]]
    rows, saved = {}, {}
    for name in tqdm(names, desc="Measuring costs", unit="candidate", leave=False):
        if name == LBP:
            rows |= _cost_of_texture(table, numbers, trial, files)
        elif name == models.CUSTOM:
            rows |= _cost_of_networks(name, _trained_runs(runs[:1]), files)
        else:
            parts = JOINED if name == BOTH else [name]
            for part in parts:
                if part not in saved:
                    saved[part] = _save_frozen(part, table, numbers, trial, run)
            rows |= _cost_of_networks(name, dict(saved[part] for part in parts), files)
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")


def _trained_runs(runs: list[Path]) -> dict[Path, float]:
    """Return runs with the seconds that their training took."""
    results = {run: paths.read_json(run / "metrics.json", "02_training") for run in runs}
    return {run: result["training_seconds"] for run, result in results.items()}


def _pretrained(name: str, classes: int):
    return models.pretrained(name, classes, 0, models.default_size(name), ALPHA)


def _save_frozen(
    name: str, table: pd.DataFrame, numbers: np.ndarray, trial: Trial, run: Path
) -> tuple[Path, float]:
    """Train a head on the fixed split; return the model's folder and the seconds it takes."""
    classes = sorted(table["label"].unique())
    model = _pretrained(name, len(classes))
    squares = data.read_images(table.iloc[trial.train], model.input_shape[1])
    network = transfer.extractor(model)
    views = transfer.features(network, squares)
    seconds = _seconds(partial(transfer.compute, network), squares)
    start = time.perf_counter()
    head = transfer.fit(transfer.classifier(STRENGTH), views, numbers[trial.train])
    transfer.set_head(model, head)
    seconds += time.perf_counter() - start
    folder = run / "models" / name
    folder.mkdir(parents=True, exist_ok=True)
    training.save(model, {"model": name, "classes": classes}, folder)
    return folder, seconds


def _seconds(compute: Callable[[np.ndarray], object], squares: np.ndarray) -> float:
    """Return how long computing takes for images, by that for `TIMED` of them."""
    start = time.perf_counter()
    compute(squares[:TIMED])
    return (time.perf_counter() - start) / len(squares[:TIMED]) * len(squares)


def _cost_of_networks(name: str, trained: dict[Path, float], files: list[Path]) -> dict:
    """Measure models that are asked together, with one view and with eight."""
    cards = [paths.read_json(folder / "model.json", "02_training") for folder in trained]
    size = sum((folder / "model.keras").stat().st_size for folder in trained)
    fixed = {
        "parameters": sum(card["parameters"] for card in cards),
        "file_mb": size / 2**20,
        "training_s": sum(trained.values()),
    }
    folders = [str(folder) for folder in trained]
    if not folders:
        return {}
    measured = cost.measure(cost.networks, (name, folders), files)
    return {way: fixed | figures for way, figures in measured.items()}


def _cost_of_texture(
    table: pd.DataFrame, numbers: np.ndarray, trial: Trial, files: list[Path]
) -> dict:
    squares = data.read_images(table, texture.SIZE)
    histograms = texture.describe(squares)[trial.train]
    seconds = _seconds(texture.compute, squares[trial.train])
    start = time.perf_counter()
    model = texture.classifier().fit(histograms, numbers[trial.train])
    seconds += time.perf_counter() - start
    svm = model.best_estimator_[-1]
    size = svm.support_vectors_.size + svm.dual_coef_.size + svm.intercept_.size
    measured = cost.measure(cost.lbp, (LBP, model), files)
    fixed = {"parameters": size, "file_mb": 8 * size / 2**20, "training_s": seconds}
    return {LBP: fixed | measured[LBP]}
