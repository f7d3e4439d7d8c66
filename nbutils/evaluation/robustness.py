"""Robustness: accuracy, calibration, review and drift detection on corrupted images."""

import zlib
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from nbutils.data import corruptions
from nbutils.evaluation import metrics
from nbutils.inference import batch
from nbutils.inference.predictor import Predictor
from nbutils.uncertainty import conformal, drift
from nbutils.uncertainty.calibration import calibration_metrics, reliability, temperature_scale
from nbutils.uncertainty.drift import BATCH_SIZE
from nbutils.uncertainty.review import ReviewPolicy, risk_coverage

SNRS = (50, 40, 30, 20)  # decibels, of the database paper's noise protocol
WHITE_NOISE, CLEAN = "white noise", "clean"
UNCHANGED = "none"  # family of the batches that drift detection must not report
DRIFT_FAMILIES = ("defocus", "motion_blur", "uneven_light", "brightness", "gamma")
DRIFT_SEVERITIES = (1, 2, 3)  # up to a moderate change


class Condition(NamedTuple):
    """What images are corrupted by: a family at a severity, or white noise at an SNR."""

    family: str
    severity: int | None = None  # 0 clean, 1 mild, 5 severe
    snr_db: int | None = None  # decibels


def conditions() -> list[Condition]:
    """Return what is measured: clean, each family at each severity, and white noise by its SNR."""
    families = [Condition(*pair) for pair in product(corruptions.FAMILIES, corruptions.SEVERITIES)]
    return [Condition(CLEAN, 0), *families, *(Condition(WHITE_NOISE, snr_db=snr) for snr in SNRS)]


def measure(
    predictors: dict[str, Predictor],
    grays: Sequence[np.ndarray],
    labels: Sequence[str],
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Run models on corrupted images, the same for each.

    Images, uint8 (height, width), are corrupted at their own size, as a camera would, and resized
    after; the seed is that of the corruptions.

    Returns
    -------
    By the name of each model, one row for each image in each of `conditions`: family, severity,
    snr_db, label (true class), decision, novelty, and `p_<class>`, probabilities before
    calibration.
    """
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in predictors}
    for condition in tqdm(conditions(), desc="Corrupting", unit="condition", leave=False):
        corrupted = [_corrupt(gray, condition, (seed, at)) for at, gray in enumerate(grays)]
        facts = {**condition._asdict(), "label": list(labels)}
        for name, predictor in predictors.items():
            tables[name].append(_forward(predictor, corrupted, facts))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def by_condition(outputs: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Measure the outputs (`measure`) of one model in each condition, calibrated by a temperature.

    Returns
    -------
    One row for each of `conditions`: family, severity, snr_db, what `calibration_metrics` returns,
    reviewed (share of the images that a person has to see), and wrong_accepted (share that is wrong
    and that nobody sees).
    """
    rows = []
    for condition, part in outputs.groupby(list(Condition._fields), sort=False, dropna=False):
        probabilities, y = _calibrated(part, temperature)
        accepted = (part["decision"] == "accept").to_numpy()
        wrong = accepted & (probabilities.argmax(axis=1) != y)
        shares = {"reviewed": 1 - accepted.mean(), "wrong_accepted": wrong.mean()}
        facts = dict(zip(Condition._fields, condition, strict=True))
        rows.append({**facts, **calibration_metrics(probabilities, y), **shares})
    return _with_integers(pd.DataFrame(rows))


def summarize(table: pd.DataFrame) -> pd.Series:
    """Summarise `by_condition`: accuracies, each a mean over families and severities."""
    clean = table[table["family"] == CLEAN].iloc[0]
    by_family = table[table["family"].isin(corruptions.FAMILIES)]
    trained = by_family["family"].isin(corruptions.TRAINING)
    white = table[table["family"] == WHITE_NOISE].set_index("snr_db")["accuracy"]
    return pd.Series(
        {
            "clean": clean["accuracy"],
            "all families": by_family["accuracy"].mean(),
            "families of training": by_family.loc[trained, "accuracy"].mean(),
            "families left out": by_family.loc[~trained, "accuracy"].mean(),
            **{f"{snr} dB": white[snr] for snr in SNRS},
            "worst condition": by_family["accuracy"].min(),
            "reviewed clean": clean["reviewed"],
            "reviewed corrupted": by_family["reviewed"].mean(),
            "wrong and accepted": by_family["wrong_accepted"].mean(),
        }
    )


def calibration_table(outputs: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """Measure calibration of one model on clean and corrupted images, before and after.

    Returns `calibration_metrics` by (images, calibration).
    """
    steps = _before_and_after(outputs, temperature)
    rows = {step: calibration_metrics(*pair) for step, pair in steps.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["images", "calibration"])


def reliability_tables(
    outputs: pd.DataFrame, temperature: float
) -> dict[tuple[str, str], pd.DataFrame]:
    """Return `calibration.reliability` of one model by (images, calibration)."""
    steps = _before_and_after(outputs, temperature)
    return {step: reliability(*pair) for step, pair in steps.items()}


def risk_curves(outputs: pd.DataFrame, temperature: float) -> dict[str, pd.DataFrame]:
    """Return `review.risk_coverage` of one model on clean and on corrupted images."""
    return {
        images: risk_coverage(*_calibrated(part, temperature))
        for images, part in _clean_and_corrupted(outputs).items()
    }


def coverage_table(outputs: pd.DataFrame, policy: ReviewPolicy) -> pd.DataFrame:
    """Measure the prediction sets of one model on clean and corrupted images.

    Columns are images, target_coverage (per cent), and those of `conformal.empirical_coverage`, for
    `all` and each class.
    """
    tables = []
    classes = [str(column).removeprefix("p_") for column in outputs.filter(regex="^p_")]
    for name, part in _clean_and_corrupted(outputs).items():
        probabilities, y = _calibrated(part, policy.thresholds.temperature)
        for target, threshold in policy.thresholds.conformal.items():
            sets = conformal.prediction_sets(probabilities, threshold)
            table = conformal.empirical_coverage(sets, y, classes).reset_index()
            tables.append(table.assign(images=name, target_coverage=int(target)))
    return pd.concat(tables, ignore_index=True)


def drift_detection_rates(
    predictor: Predictor,
    reference: drift.ReferenceStatistics,
    grays: Sequence[np.ndarray],
    n_batches: int,
    seed: int,
) -> pd.DataFrame:
    """Count how often drift is reported in batches of images, as they are and corrupted.

    Images, uint8 (height, width), took no part in the fit of the reference. Of each kind,
    `n_batches` are drawn, of `BATCH_SIZE` images, or half of those that there are, but as many as
    the test needs. One row a kind: family, severity, detection_rate (share of batches), statistic
    (median).
    """
    size = min(BATCH_SIZE, max(len(grays) // 2, drift.MIN_IMAGES), len(grays))
    rng = np.random.default_rng(seed)
    kinds = [(UNCHANGED, 0), *product(DRIFT_FAMILIES, DRIFT_SEVERITIES)]
    rows = []
    for family, severity in tqdm(kinds, desc="Testing for drift", unit="kind", leave=False):
        images = [
            corruptions.corrupt(gray, family, severity, rng) if severity else gray for gray in grays
        ]
        table = descriptor_table(predictor, reference, images)
        draws = [rng.choice(len(table), size, replace=False) for _ in range(n_batches)]
        results = [drift.test_batch([table.iloc[draw]], reference) for draw in draws]
        rate = np.mean([bool(result.drifted) for result in results])
        statistic = np.median([result.statistic for result in results])
        rows.append((family, severity, rate, statistic))
    return pd.DataFrame(rows, columns=["family", "severity", "detection_rate", "statistic"])


def descriptor_table(
    predictor: Predictor, reference: drift.ReferenceStatistics, grays: Sequence[np.ndarray]
) -> pd.DataFrame:
    """Return the descriptors of images, uint8 (height, width), with their predicted classes."""
    predictions, values = batch.predict_and_describe(predictor, grays, reference)
    return pd.DataFrame(values, columns=list(drift.PER_IMAGE)).assign(
        novelty=[prediction.novelty for prediction in predictions],
        predicted=[prediction.label for prediction in predictions],
    )


def _corrupt(gray: np.ndarray, condition: Condition, seed: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng((*seed, zlib.crc32(condition.family.encode())))
    if condition.snr_db is not None:
        return corruptions.add_noise(gray, condition.snr_db, rng)
    return (
        corruptions.corrupt(gray, condition.family, condition.severity, rng)
        if condition.severity
        else gray
    )


def _forward(predictor: Predictor, grays: Sequence[np.ndarray], facts: dict) -> pd.DataFrame:
    """Return a model's outputs for the images of a condition, before the temperature."""
    assert predictor.policy is not None
    images = [predictor.to_input(gray) for gray in grays]
    outputs = predictor.forward(images)
    predictions = predictor.to_predictions(outputs, images)
    facts = facts | {
        "decision": [prediction.decision for prediction in predictions],
        "novelty": [prediction.novelty for prediction in predictions],
    }
    columns = [f"p_{label}" for label in predictor.classes]
    weighed, _ = predictor.policy.weigh(outputs.probabilities, outputs.embeddings)
    probabilities = pd.DataFrame(weighed, columns=columns)
    return _with_integers(pd.DataFrame(facts).join(probabilities))


def _with_integers(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({"severity": "Int64", "snr_db": "Int64"})


def _calibrated(outputs: pd.DataFrame, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated probabilities (images, classes) and class numbers of outputs."""
    probabilities, y = metrics.arrays(outputs)
    return temperature_scale(probabilities, temperature), y


def _clean_and_corrupted(outputs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return outputs for images as they are, and for images of all families and severities."""
    by_family = outputs["family"].isin(corruptions.FAMILIES)
    return {CLEAN: outputs[outputs["family"] == CLEAN], "corrupted": outputs[by_family]}


def _before_and_after(
    outputs: pd.DataFrame, temperature: float
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Return probabilities and class numbers by (images, before or after calibration)."""
    return {
        (images, step): _calibrated(part, value)
        for images, part in _clean_and_corrupted(outputs).items()
        for step, value in (("before", 1.0), ("after", temperature))
    }
