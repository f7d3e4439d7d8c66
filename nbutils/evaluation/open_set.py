"""Open-set evaluation: images of a held-out class, of other things, or without a surface."""

import itertools

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image, ImageDraw
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nbutils.data import corruptions, datasets
from nbutils.data.outliers import draw_outliers
from nbutils.disk import UserError
from nbutils.inference.predictor import Predictor
from nbutils.runtime import keras
from nbutils.uncertainty.novelty import fit_gaussians

N_NEIGHBORS = 5
NOVELTY = "relative to outliers"  # as predictions carry it
RISK = "risk"  # of a prediction, by which reviews are ordered: novelty and confidence together
ALL_SCORES = "all scores, logistic regression"
RISK_LEVEL = 0.01  # share of the accepted answers that may be wrong, to compare reviews at
SIDE = 200  # pixels, of the crops
SEVERITY = 5  # severity of the corrupted images
NATURAL_IMAGES = (  # of scikit-image: photographs and textures, none of them of steel
    "astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "colorwheel", "grass",
    "gravel", "hubble_deep_field", "immunohistochemistry", "moon", "rocket",
)  # fmt: skip


def novelty_scores(
    predictor: Predictor, training_images: np.ndarray, images: np.ndarray
) -> dict[str, np.ndarray]:
    """Return scores that grow with the novelty of images, (images,) each, by their names.

    Maximum softmax: Hendrycks and Gimpel, ICLR 2017. Energy: Liu et al., NeurIPS 2020. Nearest
    neighbours: Sun et al., ICML 2022. Relative distance, to the class over that to all training
    images: Ren et al., 2021 (arXiv:2106.09022). Predictions carry `NOVELTY` and `RISK`.

    The predictor is one of a Keras model, images are uint8 (n, size, size, 1). Raises UserError if
    the model has no review policy.
    """
    if not predictor.policy:
        raise UserError(f"{predictor.name} has no thresholds: run 02_training to its end")
    head = predictor.model.get_layer("probabilities")
    body = keras.Model(predictor.model.inputs, head.input)
    known, seen = predictor.forward(training_images), predictor.forward(images)
    known_features, features = (
        body.predict(some, batch_size=32, verbose=0) for some in (training_images, images)
    )
    kernel, bias = head.get_weights()
    clean = fit_gaussians(known.embeddings, known.probabilities.argmax(axis=1))
    background = fit_gaussians(known.embeddings, np.zeros(len(training_images), int))
    distances = clean.distances(seen.embeddings)
    to_classes = predictor.policy.gaussians.class_distances(seen.embeddings)
    return {
        "maximum softmax": 1 - seen.probabilities.max(axis=1),
        "energy": -np.logaddexp.reduce(features @ kernel + bias, axis=1),
        "neighbours of last features": _neighbor_distances(known_features, features),
        "neighbours of middle features": _neighbor_distances(known.embeddings, seen.embeddings),
        "Mahalanobis, clean images": distances,
        "relative Mahalanobis": distances - background.distances(seen.embeddings),
        "Mahalanobis, corrupted as well": to_classes.min(axis=1),
        NOVELTY: predictor.policy.novelty(to_classes, seen.embeddings),
        RISK: np.array([each.risk for each in predictor.to_predictions(seen, images)]),
    }


def leave_one_class_out(predictor: Predictor, split: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Measure how well a model of `02_training` detects the class HELD_OUT_CLASS of its training.

    Neighbours are searched in the training part of the split, scores measured on its test part, in
    which every answer to an image of that class is wrong. `ALL_SCORES` is a logistic regression on
    all other scores but the risk, fitted to tell wrong answers and outliers from right
    ones, on the validation part with corrupted copies (which the policy's distances have seen).

    Returns
    -------
    One row for each of `novelty_scores`, and `ALL_SCORES`: held_out_class, score, and what
    `ood_metrics` and `selective_metrics` return. Raises UserError if the model knows all classes,
    or lacks more than one.
    """
    missing = sorted(set(split["label"]) - set(predictor.classes))
    if len(missing) != 1:
        raise UserError(
            f"{predictor.name} was trained without {len(missing)} classes: name models of "
            "02_training with HELD_OUT_CLASS in HELD_OUT_MODELS"
        )
    [held_out] = missing
    train, validation = (
        split[(split["part"] == part) & (split["label"] != held_out)]
        for part in ("train", "validation")
    )
    test = split[split["part"] == "test"]
    is_novel = (test["label"] == held_out).to_numpy()
    training_images, images = (datasets.read_images(part, predictor.size) for part in (train, test))
    fitting, is_wrong = _fitting_images(predictor, validation, seed)
    scores = novelty_scores(predictor, training_images, np.concatenate([fitting, images]))
    labels = [each.label for each in predictor.predict_arrays(images)]
    table = pd.DataFrame(scores)
    table[ALL_SCORES] = _fit_all_scores(table[: len(fitting)], is_wrong, table)
    rows = []
    for name, values in table[len(fitting) :].items():
        values = values.to_numpy()
        metrics = ood_metrics(values[~is_novel], values[is_novel])
        metrics |= selective_metrics(values, (test["label"] != labels).to_numpy())
        rows.append({"held_out_class": held_out, "score": name, **metrics})
    return pd.DataFrame(rows)


def _fitting_images(
    predictor: Predictor, validation: pd.DataFrame, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return validation images, copies and as many outliers, and whether answers are wrong."""
    y = validation["label"].map(predictor.classes.index).to_numpy()
    images = datasets.read_images(validation, predictor.size)
    images, y = corruptions.with_corrupted_copies(images, y, 1.0, 1, seed)
    outliers = draw_outliers(len(images), predictor.size, seed + 1000)  # none of those of 02
    predicted = predictor.forward(images).probabilities.argmax(axis=1)
    is_wrong = np.concatenate([predicted != y, np.ones(len(outliers), bool)])
    return np.concatenate([images, outliers]), is_wrong


def _fit_all_scores(known: pd.DataFrame, is_wrong: np.ndarray, scores: pd.DataFrame) -> np.ndarray:
    """Fit a logistic regression on some scores, and return what it makes of others."""
    columns = [name for name in scores if name != RISK]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(known[columns].to_numpy(), is_wrong)
    return model.decision_function(scores[columns].to_numpy())


def ood_metrics(known: np.ndarray, novel: np.ndarray) -> dict[str, float]:
    """Measure how well novelty scores separate known images from novel ones.

    Returns auroc, and fpr95: the share of known images that count as novel where 95 % of novel do.
    """
    truth = np.repeat([0, 1], [len(known), len(novel)])
    values = np.concatenate([known, novel])
    false_positives, true_positives, _ = roc_curve(truth, values)
    return {
        "auroc": float(roc_auc_score(truth, values)),
        "fpr95": float(false_positives[true_positives >= 0.95][0]),
    }


def selective_metrics(scores: np.ndarray, is_wrong: np.ndarray) -> dict[str, float]:
    """Measure what accepting the answers with the lowest scores leaves to a person.

    Returns
    -------
    aurc, the area under the curve of risk over coverage (Geifman and El-Yaniv, NeurIPS 2017), and
    reviewed: the least share of answers that a person sees where of those accepted no more than
    `RISK_LEVEL` are wrong. Answers of the same score are accepted together.
    """
    _, group = np.unique(scores, return_inverse=True)
    accepted = np.cumsum(np.bincount(group))
    risk = np.cumsum(np.bincount(group, weights=is_wrong)) / accepted
    coverage = np.diff(accepted, prepend=0) / len(scores)
    most = accepted[risk <= RISK_LEVEL].max(initial=0)
    return {"aurc": float(risk @ coverage), "reviewed": float(1 - most / len(scores))}


def predict_groups(predictor: Predictor, groups: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """Predict groups of images, uint8 (height, width): group, novelty, accepted, confidence."""
    return pd.DataFrame(
        {
            "group": name,
            "novelty": prediction.novelty,
            "accepted": prediction.decision == "accept",
            "confidence": prediction.confidence,
        }
        for name, grays in groups.items()
        for prediction in predictor.predict_arrays(map(predictor.to_input, grays))
    )


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise `predict_groups`, whose first group is known, and separate the others from it.

    One row a group: images, accepted (share), confidence (mean), auroc and fpr95 (`ood_metrics`).
    """
    groups = table.groupby("group", sort=False)
    summary = groups.agg(
        images=("novelty", "size"), accepted=("accepted", "mean"), confidence=("confidence", "mean")
    )
    novelty = {name: rows.to_numpy() for name, rows in groups["novelty"]}
    known, *novel = novelty
    metrics = {name: ood_metrics(novelty[known], novelty[name]) for name in novel}
    return summary.join(pd.DataFrame.from_dict(metrics, orient="index"))


def natural_images() -> list[np.ndarray]:
    """Return crops of the photographs and textures that scikit-image ships: uint8 (200, 200)."""
    crops = []
    for name in NATURAL_IMAGES:
        gray = np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("L"))
        crops += [
            gray[top : top + SIDE, left : left + SIDE]
            for top in range(0, gray.shape[0] - SIDE + 1, SIDE)
            for left in range(0, gray.shape[1] - SIDE + 1, SIDE)
        ]
    return crops


def blank_images(seed: int, count: int = 20) -> dict[str, list[np.ndarray]]:
    """Draw images without a surface: plain gray, noise, and text; uint8 (200, 200) each."""
    rng = np.random.default_rng(seed)
    means = np.linspace(20, 235, count)
    plain = [np.full((SIDE, SIDE), mean, np.uint8) for mean in means]
    noise = [np.clip(rng.normal(mean, 40, (SIDE, SIDE)), 0, 255).astype(np.uint8) for mean in means]
    return {"plain gray": plain, "noise": noise, "text": [_text(rng) for _ in range(count)]}


def corrupted_images(grays: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Corrupt each image heavily, by one family after the other."""
    families = itertools.cycle(corruptions.FAMILIES)
    return [
        corruptions.corrupt(gray, family, SEVERITY, np.random.default_rng((seed, at)))
        for at, (gray, family) in enumerate(zip(grays, families, strict=False))
    ]


def _neighbor_distances(known: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the distances to the fifth nearest of the known, each dimension standardised."""
    center, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
    neighbors = NearestNeighbors(n_neighbors=N_NEIGHBORS).fit((known - center) / scale)
    return neighbors.kneighbors((seen - center) / scale)[0][:, -1]


def _text(rng: np.random.Generator) -> np.ndarray:
    page = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(page)
    for top in range(4, SIDE - 12, 14):
        letters = rng.integers(97, 123, 40).astype(np.uint8).tobytes().decode()
        pen.text((4, top), letters, fill=int(rng.integers(0, 90)))
    return np.asarray(page)
