"""Train a new head on what a frozen backbone sees, computed once for each image and kept."""

import hashlib
import time
import zipfile
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from nbutils import answering, litert, paths
from nbutils.backend import keras
from nbutils.images import symmetries

STRENGTHS = (1e-2, 1e-1, 1.0)  # inverse regularisation to choose from


def extractor(model: keras.Model) -> keras.Model:
    """Return the part of a `models.pretrained` from images to the pooled maps of its backbone."""
    return keras.Model(model.input, model.get_layer("features").output, name=model.name)


def features(network: keras.Model, squares: np.ndarray) -> np.ndarray:
    """Compute the features of images in all eight symmetries, or take them from the cache.

    The cache is a file in `outputs/cache` for each network, size and weights, and knows each image
    by its pixels. What is missing or unreadable there is computed.

    Parameters
    ----------
    network
        As `extractor` returns it.
    squares
        uint8, shape (images, size, size, 1).

    Returns
    -------
    float32 array of shape (images, 8, channels).
    """
    file = cache_file(network)
    known = _read(file)
    keys = [hashlib.sha256(square.tobytes()).hexdigest() for square in squares]
    missing = [at for at, key in enumerate(keys) if key not in known]
    if missing:
        found = compute(network, squares[missing])
        known |= {keys[at]: values for at, values in zip(missing, found, strict=True)}
        with paths.replacing(file) as beside:
            np.savez(beside, keys=list(known), features=np.stack(list(known.values())))
    return np.stack([known[key] for key in keys])


def compute(network: keras.Model, squares: np.ndarray) -> np.ndarray:
    """Compute `features`, without their cache.

    The eight views of an image are one batch: it stays in the processor's cache.
    """
    file = cache_file(network).with_suffix(".tflite")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        answering.write(network, file)
    batches = (symmetries(square[np.newaxis])[:, 0] for square in squares)
    bar = {"desc": f"Features of {network.name}", "unit": "image", "leave": False}
    return np.stack(list(tqdm(litert.Network(file).map(batches), total=len(squares), **bar)))


def cache_file(network: keras.Model) -> Path:
    """Return where a network's features are kept: by its name, size, layers and weights."""
    digest = hashlib.sha256(repr([type(layer).__name__ for layer in network.layers]).encode())
    for weights in network.get_weights():
        digest.update(weights.tobytes())
    name = f"{network.name}_{network.input_shape[1]}_{digest.hexdigest()[:12]}.npz"
    return paths.OUTPUTS / "cache" / name


def classifier(strength: float) -> Pipeline:
    """Build the head: standardise each feature, then logistic regression.

    Parameters
    ----------
    strength
        Inverse of the L2 regularisation, C of scikit-learn.
    """
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=500))


def fit(head: Pipeline, views: np.ndarray, numbers: np.ndarray) -> Pipeline:
    """Fit a head to `features` in all their views, and class numbers (int, one an image)."""
    return head.fit(np.concatenate(views), np.repeat(numbers, views.shape[1]))


def probabilities(head: Pipeline, views: np.ndarray) -> np.ndarray:
    """Return a head's probabilities averaged over the views given: (images, classes)."""
    flat = head.predict_proba(np.concatenate(views))
    return flat.reshape(*views.shape[:2], -1).mean(axis=1)


def train_head(model: keras.Model, train, validation, views: int) -> tuple[float, float]:
    """Give a `models.pretrained` the head that is best by validation.

    Parameters
    ----------
    model
        Its `probabilities` layer is filled.
    train, validation
        Images uint8 (n, size, size, 1) and class numbers (int). Validation chooses the strength.
    views
        Symmetries averaged at prediction: 1 or 8.

    Returns
    -------
    The strength chosen, of `STRENGTHS`, and the seconds that it took.
    """
    start = time.perf_counter()
    network = extractor(model)
    seen, judged = features(network, train[0]), features(network, validation[0])[:, :views]
    heads = {c: fit(classifier(c), seen, train[1]) for c in STRENGTHS}
    losses = {c: log_loss(validation[1], probabilities(heads[c], judged)) for c in STRENGTHS}
    best = min(losses, key=losses.get)
    set_head(model, heads[best])
    return best, time.perf_counter() - start


def set_head(model: keras.Model, head: Pipeline) -> None:
    """Put a head into the `probabilities` layer of a `models.pretrained`."""
    model.get_layer("probabilities").set_weights(_dense(head))


def _dense(head: Pipeline) -> list[np.ndarray]:
    """Fold a head into the kernel (channels, classes) and bias of one dense layer."""
    scaler, regression = head[0], head[1]
    kernel, bias = regression.coef_.T, regression.intercept_
    if kernel.shape[1] == 1:  # two classes share one column
        kernel, bias = np.hstack([-kernel / 2, kernel / 2]), np.hstack([-bias / 2, bias / 2])
    kernel = kernel / scaler.scale_[:, np.newaxis]
    return [kernel, bias - scaler.mean_ @ kernel]


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as cache:
            return dict(zip(cache["keys"].tolist(), cache["features"], strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        print(f"{file} is damaged: the features are computed again")
        return {}
