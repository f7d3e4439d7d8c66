"""Fit the limits of a model's trust to training and validation images, never to test images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.covariance import ledoit_wolf
from sklearn.model_selection import StratifiedKFold

from nbutils import calibration, conformal, corruptions
from nbutils.paths import UserError
from nbutils.predictor import Predictor
from nbutils.trust import Gaussians, Limits, Trust, soften

CORRUPTED_COPIES = 2  # of each validation image
FOLDS = 5  # that the limit of novelty is measured by


@dataclass(frozen=True)
class Costs:
    """What mistakes and reviews cost, in one unit, and how many false alarms of novelty may be.

    Raises UserError for a value that cannot be.
    """

    miss: float  # a wrong answer that nobody looks at
    review: float  # a look by a person
    novel: float  # share of images like those of training that may count as novel

    def __post_init__(self):
        """Refuse what cannot be."""
        if min(self.miss, self.review) <= 0:
            raise UserError(f"MISS_COST {self.miss}, REVIEW_COST {self.review}: give more than 0")
        if not 0 <= self.novel < 1:
            raise UserError(f"NOVEL_SHARE {self.novel}: give 0 or more, less than 1")


def fit(
    predictor: Predictor,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    costs: Costs,
    corruption: float,
    seed: int,
) -> Trust:
    """Fit a model's limits.

    Temperature, candidates and the confidence to review below are fitted to validation images as
    they are, and corrupted as in training; novelty to training and validation images as they are.

    Parameters
    ----------
    predictor
        Of a model that has no limits yet.
    train, validation
        Images uint8 (n, size, size, 1) and class numbers (int).
    costs
        They choose the confidence below which a person looks, and the limit of novelty.
    corruption
        Strength that the model was trained with (`corruptions.spoil`); 0 for images as they are.
    seed
        Of the corruptions.
    """
    squares, numbers = validation
    copies = CORRUPTED_COPIES if corruption else 0
    seeds = np.random.default_rng(seed).integers(2**32, size=(copies, len(squares)))
    several = [squares, *(corruptions.spoil(squares, row, corruption) for row in seeds)]
    raw, _ = predictor.answers(np.concatenate(several))
    all_numbers = np.tile(numbers, len(several))
    temperature = calibration.fit_temperature(raw, all_numbers)
    chances = soften(raw, temperature)
    known = np.concatenate([train[0], squares]), np.concatenate([train[1], numbers])
    _, embeddings = predictor.answers(known[0], views=1)
    limits = Limits(
        temperature=temperature,
        floors=conformal.floors(chances, all_numbers),
        confidence=cheapest(chances, all_numbers, costs),
        novelty=float(np.quantile(held_out_distances(embeddings, known[1]), 1 - costs.novel)),
    )
    return Trust(limits, fit_gaussians(embeddings, known[1]))


def fit_gaussians(embeddings: np.ndarray, numbers: np.ndarray) -> Gaussians:
    """Fit a normal distribution to each class.

    Mahalanobis distances to class means are those of Lee, Lee, Lee and Shin (NeurIPS 2018,
    arXiv:1807.03888); each class has a covariance of its own here, since a texture's spread is
    part of what it is. Ledoit and Wolf's shrinkage makes it regular with few images.

    Parameters
    ----------
    embeddings
        Shape (images, dimensions).
    numbers
        Class numbers (int).
    """
    deviation = embeddings.std(axis=0)
    scale = np.maximum(deviation, deviation.mean() / 20)  # channels that training left dark
    scaled = embeddings / scale
    centers, whitening = [], []
    for number in np.unique(numbers):
        of_class = scaled[numbers == number]
        values, vectors = np.linalg.eigh(ledoit_wolf(of_class)[0])
        centers.append(of_class.mean(axis=0) * scale)
        whitening.append(vectors / np.sqrt(np.maximum(values, 1e-6)) / scale[:, np.newaxis])
    return Gaussians(np.float32(centers), np.float32(whitening))


def held_out_distances(embeddings: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return how far each image is from the others, consecutive images held out together.

    Parameters
    ----------
    embeddings, numbers
        As in `fit_gaussians`, at least two images a class, in the order that they were taken.
    """
    distances = np.empty(len(numbers))
    folds = StratifiedKFold(min(FOLDS, np.bincount(numbers).min()))
    for others, held in folds.split(embeddings, numbers):
        found = fit_gaussians(embeddings[others], numbers[others])
        distances[held] = found.distances(embeddings[held])
    return distances


def cheapest(chances: np.ndarray, numbers: np.ndarray, costs: Costs) -> float:
    """Return the confidence to review below that costs least.

    Parameters
    ----------
    chances, numbers
        Calibrated probabilities (images, classes), and class numbers.
    costs
        Of misses and reviews.
    """
    table = risk_coverage(chances, numbers)
    cost = costs.miss * table["errors"] + costs.review * (len(numbers) - table["accepted"])
    return float(table["confidence"][cost.idxmin()])


def risk_coverage(chances: np.ndarray, numbers: np.ndarray) -> pd.DataFrame:
    """Count what goes wrong if only the surest answers are accepted.

    Geifman and El-Yaniv, NeurIPS 2017 (arXiv:1705.08500).

    Returns
    -------
    One row for each confidence that occurs, highest first: confidence, accepted (answers at least
    that sure), errors among them, coverage and risk (shares).
    """
    table = pd.DataFrame(
        {"confidence": chances.max(axis=1), "errors": chances.argmax(axis=1) != numbers}
    )
    grouped = table.groupby("confidence")["errors"].agg(["size", "sum"])[::-1].cumsum()
    found = grouped.reset_index().set_axis(["confidence", "accepted", "errors"], axis=1)
    return found.assign(
        coverage=found["accepted"] / len(table), risk=found["errors"] / found["accepted"]
    )
