"""From the bytes of image files to predictions, and whether a person should review them."""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nbutils import runs
from nbutils.data.images import symmetries, to_array
from nbutils.runs import UserError
from nbutils.uncertainty.review import ReviewPolicy, load_policy

DEFAULT_MODEL = f"{runs.REFERENCE}/mobilenet_v2"
BACKENDS = {"keras": runs.KERAS_MODEL, "litert": runs.LITERT_MODEL}  # backend -> file of a model
BATCH_SIZE = 8  # images that stay in a processor's cache between layers
NO_POLICY = (f"the model has no thresholds to review it by: run {runs.WRITTEN_BY[runs.REVIEW]}",)
SEPARATOR = "; "  # between the reasons, and the members of a prediction set, of a row


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image."""

    probabilities: dict[str, float]  # by class name, sum 1
    novelty: float = np.nan  # about 1 for images like those of training; higher is less like them
    prediction_set: tuple[str, ...] = ()  # classes that hold the true one 95 times in 100
    reasons: tuple[str, ...] = NO_POLICY  # why a person should review it, in words

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The probability of that class, in [0, 1]."""
        return self.probabilities[self.label]

    @property
    def decision(self) -> str:
        """`accept`, or `review` where there is a reason to."""
        return "review" if self.reasons else "accept"

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, highest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    def to_row(self, path: str | Path, label: str = "") -> dict[str, Any]:
        """Return the row that every table has of an image; its keys are `row_columns`.

        Parameters
        ----------
        path
            Of the image.
        label
            Its true class, where it is known.
        """
        return {
            "path": str(path),
            "label": label,
            "predicted": self.label,
            "confidence": self.confidence,
            "decision": self.decision,
            "reasons": SEPARATOR.join(self.reasons),
            "novelty": self.novelty,
            "prediction_set": SEPARATOR.join(self.prediction_set),
            **{f"p_{name}": value for name, value in self.probabilities.items()},
            "error": "",
        }


def row_columns(classes: Iterable[str]) -> list[str]:
    """Return the columns of `Prediction.to_row`."""
    facts = ["path", "label", "predicted", "confidence", "decision", "reasons", "novelty"]
    return [*facts, "prediction_set", *(f"p_{name}" for name in classes), "error"]


def error_row(path: str | Path, error: str, classes: Iterable[str], label: str = "") -> dict:
    """Return the row of an image that could not be read."""
    empty = dict.fromkeys(row_columns(classes), "")
    return empty | {"path": str(path), "label": label, "error": error}


class Network(Protocol):
    """Runs batches of images (n, size, size, 1) in [0, 255].

    Returns a row for each image: probabilities, then the embedding (`export.with_embedding`).
    """

    def map(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Run batches, their outputs in order."""
        ...


class Predictor:
    """A network with its class names, and the policy that decides which answers are reviewed.

    Parameters
    ----------
    network
        That answers.
    classes
        Names, in the order of the probabilities.
    name
        Of the model.
    size
        Side of the network's input in pixels.
    tta_views
        Test-time augmentation: with 8, the probabilities of an image are the means over its turns
        and mirrorings.
    policy
        Calibrates and reviews; without it, every decision is `review`.
    model
        The Keras model behind the network, for activation maps.
    """

    def __init__(
        self,
        network: Network,
        classes: Sequence[str],
        name: str,
        size: int,
        tta_views: int = 1,
        policy: ReviewPolicy | None = None,
        model: Any = None,
    ):
        self.network = network
        self.classes = tuple(classes)
        self.name = name
        self.size = size
        self.tta_views = tta_views
        self.policy = policy
        self.model = model

    def predict(
        self, images: Sequence[bytes], names: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Classify images given as the bytes of their files.

        Parameters
        ----------
        images
            Contents of JPEG, PNG, BMP or TIFF files.
        names
            What errors call them; default `image 1`, `image 2`, ...

        Raises
        ------
        ImageError
            If one of them cannot be read; nothing is predicted then.
        """
        names = names or [f"image {number}" for number in range(1, len(images) + 1)]
        return self.predict_arrays(
            to_array(data, self.size, name) for data, name in zip(images, names, strict=True)
        )

    def predict_arrays(self, images: Iterable[np.ndarray]) -> list[Prediction]:
        """Classify images, uint8 (size, size, 1) each; they are taken as the network needs them."""
        return self.to_predictions(*self.forward(images))

    def forward(
        self, images: Iterable[np.ndarray], tta_views: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the output of the network, before it is calibrated.

        Parameters
        ----------
        images
            uint8, shape (size, size, 1) each.
        tta_views
            Default is the predictor's own.

        Returns
        -------
        Probabilities, float (images, classes), means over the views; and embeddings of the images
        as they are, float32 (images, dimensions).
        """
        views = tta_views or self.tta_views
        batches = (
            batch if views == 1 else np.concatenate(symmetries(batch)[:views])
            for batch in _in_batches(images, max(BATCH_SIZE // views, 1))
        )
        outputs = [
            rows.reshape(views, len(rows) // views, -1) for rows in self.network.map(batches)
        ]
        known = len(self.classes)
        if not outputs:
            return np.empty((0, known)), np.empty((0, 0), np.float32)
        means = [rows[..., :known].mean(axis=0, dtype=float) for rows in outputs]
        probabilities = np.concatenate(means)
        embeddings = np.concatenate([rows[0, :, known:] for rows in outputs])
        return probabilities / probabilities.sum(axis=1, keepdims=True), embeddings

    def to_predictions(self, probabilities: np.ndarray, embeddings: np.ndarray) -> list[Prediction]:
        """Turn the output of `forward` into predictions."""
        if not len(probabilities):
            return []
        if not self.policy:
            return [Prediction(self._by_class(row)) for row in probabilities]
        assessed = self.policy.assess(probabilities, embeddings)
        return [
            Prediction(self._by_class(row), float(novelty), self._members(members), reasons)
            for row, novelty, members, reasons in zip(
                assessed.probabilities,
                assessed.novelty,
                assessed.prediction_sets,
                assessed.reasons,
                strict=True,
            )
        ]

    def _by_class(self, row: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, row.tolist(), strict=True))

    def _members(self, members: np.ndarray) -> tuple[str, ...]:
        return tuple(name for name, inside in zip(self.classes, members, strict=True) if inside)


def load_predictor(model: str | Path | None = None, backend: str | None = None) -> Predictor:
    """Load a trained model.

    Parameters
    ----------
    model
        As `runs.find_model` takes it: a folder, `run/model`, or a run; default the model that
        ships.
    backend
        `litert`, which needs no TensorFlow, or `keras`, which alone can draw activation maps.
        Default: `litert` where the model has been exported.

    Raises
    ------
    UserError
        If there is no such model, or it is damaged, or its classes do not fit.
    """
    folder = runs.find_model(model or DEFAULT_MODEL)
    backend = find_backend(folder, backend)
    file = folder / BACKENDS[backend]
    card = runs.read_json(folder / runs.MODEL_CARD)
    load = _load_litert if backend == "litert" else _load_keras
    classes, policy = card.get("classes", []), load_policy(folder)
    return load(file, classes, runs.model_name(folder), card.get("tta_views", 1), policy)


def fastest_backend(model: Path) -> str:
    """Return the fastest backend that a model's folder has a file for."""
    return "litert" if (model / runs.LITERT_MODEL).exists() else "keras"


def find_backend(model: Path, backend: str | None = None) -> str:
    """Return the backend that is named, or the fastest; UserError if the model lacks its file."""
    backend = backend or fastest_backend(model)
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}")
    file = model / BACKENDS[backend]
    if not file.exists():
        export = f"steel export {runs.model_name(model)}"
        cure = export if backend == "litert" else runs.WRITTEN_BY[runs.KERAS_MODEL]
        raise UserError(f"{file} is missing: run {cure}")
    return backend


def _load_litert(
    file: Path, classes: Sequence[str], name: str, tta_views: int, policy
) -> Predictor:
    from nbutils.inference.litert import LiteRTNetwork

    network = LiteRTNetwork(file)
    if policy and network.width != len(classes) + policy.gaussians.centers.shape[1]:
        raise UserError(
            f"{file} does not fit {runs.MODEL_CARD} and {runs.NOVELTY} beside it: "
            f"write it again by steel export {name}"
        )
    return Predictor(network, classes, name, network.size, tta_views, policy)


def _load_keras(file: Path, classes: Sequence[str], name: str, tta_views: int, policy) -> Predictor:
    from nbutils.inference.export import keras_predictor
    from nbutils.models import layers  # noqa: F401  registers the project's own
    from nbutils.runtime import keras

    cure = f"run {runs.WRITTEN_BY[runs.KERAS_MODEL]} again"
    if not zipfile.is_zipfile(file):
        raise UserError(f"{file} is damaged or no Keras model: {cure}")
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be loaded ({error}): {cure}") from error
    if len(classes) != model.output_shape[-1]:
        raise UserError(
            f"{file} has {model.output_shape[-1]} classes, but {runs.MODEL_CARD} beside it names "
            f"{len(classes)}: {cure}"
        )
    return keras_predictor(model, classes, name, tta_views, policy)


def _in_batches(images: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    images = iter(images)
    while batch := list(islice(images, size)):
        yield np.stack(batch)
