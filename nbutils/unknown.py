"""What a model does not know: images of a class left out, of other things, or of nothing."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import skimage.data
from PIL import Image, ImageDraw
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from nbutils import corruptions, data
from nbutils.backend import keras
from nbutils.images import square
from nbutils.paths import UserError
from nbutils.predictor import Predictor

NEIGHBOURS = 5
SHIPPED = "Mahalanobis of middle features"  # the score that predictions carry
SIDE = 200  # pixels, of the crops
HEAVY = 5  # severity of the corrupted images
PICTURES = (  # of scikit-image: photographs and textures, none of them of steel
    "astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "colorwheel", "grass",
    "gravel", "hubble_deep_field", "immunohistochemistry", "moon", "rocket",
)  # fmt: skip


def scores(
    predictor: Predictor, training: np.ndarray
) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return the ways to tell novel images, each from images to a number that grows with novelty.

    Maximum softmax: Hendrycks and Gimpel, ICLR 2017. Energy: Liu et al., NeurIPS 2020. Nearest
    neighbours: Sun et al., ICML 2022. `SHIPPED` is the one that predictions carry.

    Parameters
    ----------
    predictor
        With limits.
    training
        Images that it was trained on, uint8 (n, size, size, 1).
    """
    head = predictor.model.get_layer("probabilities")
    seen = keras.Model(predictor.model.inputs, head.input)

    def features(squares: np.ndarray) -> np.ndarray:
        return seen.predict(squares, batch_size=32, verbose=0)

    def embeddings(squares: np.ndarray) -> np.ndarray:
        return predictor.answers(squares, views=1)[1]

    kernel, bias = head.get_weights()
    return {
        "maximum softmax": lambda squares: 1 - predictor.answers(squares)[0].max(axis=1),
        "energy": lambda squares: -np.logaddexp.reduce(features(squares) @ kernel + bias, axis=1),
        "neighbours of last features": _neighbours(features, training),
        "neighbours of middle features": _neighbours(embeddings, training),
        SHIPPED: lambda squares: predictor.trust.gaussians.distances(embeddings(squares)),
    }


def left_out(predictor: Predictor, split: pd.DataFrame) -> pd.DataFrame:
    """Measure how well a model notices the one class that it was trained without.

    Parameters
    ----------
    predictor
        Trained by `02_training` with LEAVE_OUT.
    split
        As `splits.read_split` returns it: the training part for neighbours, the test part to judge.

    Returns
    -------
    One row for each of `scores`: left_out (class), score, auroc, fpr95.

    Raises
    ------
    UserError
        If the model knows all classes, or lacks more than one.
    """
    missing = sorted(set(split["label"]) - set(predictor.classes))
    if len(missing) != 1:
        raise UserError(
            f"{predictor.name} was trained without {len(missing)} classes: name runs of "
            "02_training with LEAVE_OUT in WITHOUT"
        )
    learned = split[split["label"] != missing[0]]
    training = data.read_arrays(learned, "train", list(predictor.classes), predictor.size)[0]
    test = split[split["part"] == "test"]
    novel = (test["label"] == missing[0]).to_numpy()
    squares = data.read_images(test, predictor.size)
    rows = []
    for name, score in scores(predictor, training).items():
        values = score(squares)
        apart = told_apart(values[~novel], values[novel])
        rows.append({"left_out": missing[0], "score": name, **apart})
    return pd.DataFrame(rows)


def _neighbours(describe: Callable, squares: np.ndarray) -> Callable:
    """Return the distance to the fifth nearest training image, each dimension standardised."""
    known = describe(squares)
    center, scale = known.mean(axis=0), known.std(axis=0) + 1e-6
    near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit((known - center) / scale)
    return lambda asked: near.kneighbors((describe(asked) - center) / scale)[0][:, -1]


def told_apart(known: np.ndarray, novel: np.ndarray) -> dict[str, float]:
    """Measure how well novelty scores tell known images from novel ones.

    Returns
    -------
    auroc, and fpr95: the share of known images that count as novel where 95 % of novel ones do.
    """
    truth = np.repeat([0, 1], [len(known), len(novel)])
    values = np.concatenate([known, novel])
    false, true, _ = roc_curve(truth, values)
    return {"auroc": roc_auc_score(truth, values), "fpr95": float(false[true >= 0.95][0])}


def judged(predictor: Predictor, groups: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """Ask a predictor about groups of images, uint8 (height, width) each.

    Returns
    -------
    One row an image: group, novelty, accepted (bool) and confidence.
    """
    return pd.DataFrame(
        {
            "group": name,
            "novelty": found.novelty,
            "accepted": found.verdict == "accept",
            "confidence": found.confidence,
        }
        for name, grays in groups.items()
        for found in predictor.judge(np.stack([square(gray, predictor.size) for gray in grays]))
    )


def summary(novelty: pd.DataFrame) -> pd.DataFrame:
    """Sum up `judged`, whose first group is known, and tell each other group apart from it.

    Returns
    -------
    One row a group: images, accepted (share), confidence (mean), auroc and fpr95 (`told_apart`).
    """
    groups = novelty.groupby("group", sort=False)
    found = groups.agg(
        images=("novelty", "size"), accepted=("accepted", "mean"), confidence=("confidence", "mean")
    )
    known = found.index[0]
    apart = {
        name: told_apart(groups.get_group(known)["novelty"], rows["novelty"])
        for name, rows in groups
        if name != known
    }
    return found.join(pd.DataFrame.from_dict(apart, orient="index"))


def pictures() -> list[np.ndarray]:
    """Return crops of the photographs and textures that scikit-image ships: uint8 (200, 200)."""
    crops = []
    for name in PICTURES:
        gray = np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("L"))
        crops += [
            gray[top : top + SIDE, left : left + SIDE]
            for top in range(0, gray.shape[0] - SIDE + 1, SIDE)
            for left in range(0, gray.shape[1] - SIDE + 1, SIDE)
        ]
    return crops


def nothing(seed: int, count: int = 20) -> dict[str, list[np.ndarray]]:
    """Draw images without a surface: plain gray, noise, and text; uint8 (200, 200) each."""
    rng = np.random.default_rng(seed)
    levels = np.linspace(20, 235, count)
    plain = [np.full((SIDE, SIDE), level, np.uint8) for level in levels]
    noise = [
        np.clip(rng.normal(level, 40, (SIDE, SIDE)), 0, 255).astype(np.uint8) for level in levels
    ]
    return {"plain gray": plain, "noise": noise, "text": [_text(rng) for _ in range(count)]}


def spoiled(grays: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Corrupt each image heavily, by one family after the other."""
    families = list(corruptions.FAMILIES)
    return [
        corruptions.corrupt(
            gray, families[at % len(families)], HEAVY, np.random.default_rng((seed, at))
        )
        for at, gray in enumerate(grays)
    ]


def _text(rng: np.random.Generator) -> np.ndarray:
    page = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(page)
    for top in range(4, SIDE - 12, 14):
        letters = rng.integers(97, 123, 40).astype(np.uint8).tobytes().decode()
        pen.text((4, top), letters, fill=int(rng.integers(0, 90)))
    return np.asarray(page)
