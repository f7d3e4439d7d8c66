"""From the bytes of image files to predictions, and whether a person should review them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from typing import Any

import numpy as np

from nbutils import runs
from nbutils.artefacts import UNPACKING, check_archive, damaged, read_card
from nbutils.data.images import resize, symmetries, to_array
from nbutils.inference.defects import Defect
from nbutils.runs import UserError
from nbutils.uncertainty.review import ReviewPolicy, load_policy

DEFAULT_MODEL = f"{runs.REFERENCE}/mobilenet_v2"
BACKENDS = {"keras": runs.KERAS_MODEL, "litert": runs.LITERT_MODEL}  # backend -> file of a model
BATCH_SIZE = 8  # images that stay in a processor's cache between layers
NO_POLICY = (f"the model has no thresholds to review it by: run {runs.WRITTEN_BY[runs.REVIEW]}",)
REBUILDING = (*UNPACKING, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError)
SEPARATOR = "; "  # between the reasons, and the members of a prediction set, of a row


# From batches of images (n, size, size, 1) in [0, 255] to their outputs, in order: a row for each
# image, probabilities, then the embedding (`export.with_embedding`).
Network = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one image."""

    probabilities: dict[str, float]  # by class name, sum 1
    novelty: float = np.nan  # about 1 for images like those of training; higher is less like them
    prediction_set: tuple[str, ...] = ()  # classes that hold the true one 95 times in 100
    reasons: tuple[str, ...] = NO_POLICY  # why a person should review it, strongest first
    risk: float = 1.0  # estimated probability that accepting it is a mistake
    defect_map: np.ndarray | None = None  # float32 (rows, columns, classes) in [0, 1]
    defects: tuple[Defect, ...] = ()  # surest first

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
        """Return the row that every table has of an image, with its true class if that is known.

        Its keys are `row_columns`.
        """
        return {
            "path": str(path),
            "label": label,
            "predicted": self.label,
            "confidence": self.confidence,
            "decision": self.decision,
            "reasons": SEPARATOR.join(self.reasons),
            "novelty": self.novelty,
            "risk": self.risk,
            "prediction_set": SEPARATOR.join(self.prediction_set),
            **{f"p_{name}": value for name, value in self.probabilities.items()},
            "error": "",
        }


def row_columns(classes: Iterable[str]) -> list[str]:
    """Return the columns of `Prediction.to_row`."""
    facts = ["path", "label", "predicted", "confidence", "decision", "reasons", "novelty", "risk"]
    return [*facts, "prediction_set", *(f"p_{name}" for name in classes), "error"]


def error_row(path: str | Path, error: str, classes: Iterable[str]) -> dict[str, str]:
    """Return the row of an image that could not be read."""
    return dict.fromkeys(row_columns(classes), "") | {"path": str(path), "error": error}


@dataclass(eq=False)
class Predictor:
    """A network with its class names, and the policy that decides which predictions are reviewed.

    Test-time augmentation: with 8 views, the probabilities of an image are the means over its turns
    and mirrorings.
    """

    network: Network
    classes: Sequence[str]  # names, in the order of the probabilities
    name: str  # of the model
    size: int  # pixels, side of the network's input
    tta_views: int = 1
    policy: ReviewPolicy | None = None  # calibrates and reviews; without, all is reviewed
    model: Any = None  # the Keras model behind the network, for activation maps

    def predict(
        self, images: Sequence[bytes], names: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Classify images given as the bytes of their JPEG, PNG, BMP or TIFF files.

        Raises ImageError if one of them cannot be read; it calls them by `names`, or `image 1`,
        `image 2`, ...
        """
        names = names or [f"image {number}" for number in range(1, len(images) + 1)]
        return self.predict_arrays(
            to_array(data, self.size, name) for data, name in zip(images, names, strict=True)
        )

    def predict_arrays(self, images: Iterable[np.ndarray]) -> list[Prediction]:
        """Classify images, uint8 (size, size, 1) each; they are taken as the network needs them."""
        return self.to_predictions(*self.forward(images))

    def predict_image(self, gray: np.ndarray) -> Prediction:
        """Classify one image, uint8 (height, width)."""
        return self.predict_arrays([resize(gray, self.size)])[0]

    def forward(
        self, images: Iterable[np.ndarray], tta_views: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the output of the network for images, uint8 (size, size, 1), before calibration.

        It is probabilities, float (images, classes), means over the views (by default those of the
        predictor), and embeddings of the images as they are, float32 (images, dimensions).
        """
        views = tta_views or self.tta_views
        batches = (
            batch if views == 1 else np.concatenate(symmetries(batch)[:views])
            for batch in map(np.stack, batched(images, max(BATCH_SIZE // views, 1)))
        )
        outputs = [rows.reshape(views, len(rows) // views, -1) for rows in self.network(batches)]
        count = len(self.classes)
        if not outputs:
            return np.empty((0, count)), np.empty((0, 0), np.float32)
        means = [rows[..., :count].mean(axis=0, dtype=float) for rows in outputs]
        probabilities = np.concatenate(means)
        embeddings = np.concatenate([rows[0, :, count:] for rows in outputs])
        return probabilities / probabilities.sum(axis=1, keepdims=True), embeddings

    def to_predictions(self, probabilities: np.ndarray, embeddings: np.ndarray) -> list[Prediction]:
        """Turn the output of `forward` into predictions."""
        if not len(probabilities):
            return []
        if not self.policy:
            return [Prediction(self._by_class(row)) for row in probabilities]
        each = self.policy.assess(probabilities, embeddings)
        columns = (each.probabilities, each.novelty, each.prediction_sets, each.reasons)
        return [
            Prediction(
                self._by_class(row),
                float(novelty),
                tuple(compress(self.classes, inside)),
                reasons,
                1.0 if reasons else 1 - float(row.max()),
            )
            for row, novelty, inside, reasons in zip(*columns, strict=True)
        ]

    def _by_class(self, row: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, row.tolist(), strict=True))


def load_predictor(model: str | Path | None = None, backend: str | None = None) -> Predictor:
    """Load a trained model: a folder, `run/model`, or a run (`runs.find_model`).

    The backend is `litert`, which needs no TensorFlow and is the default where the model has been
    exported, or `keras`, which alone can draw activation maps. Raises UserError if there is no such
    model, or it is damaged, or its classes do not fit.
    """
    folder = runs.find_model(model or DEFAULT_MODEL)
    backend = find_backend(folder, backend)
    file = folder / BACKENDS[backend]
    card, policy = read_card(folder), load_policy(folder)
    classes, tta_views = card["classes"], card["tta_views"]
    if policy and len(policy.gaussians.centers) != len(classes):
        raise damaged(folder / runs.NOVELTY, f"{runs.MODEL_CARD} names {len(classes)} classes")
    load = _load_litert if backend == "litert" else _load_keras
    return load(file, classes, runs.model_name(folder), tta_views, policy)


def find_backend(model: Path, backend: str | None = None) -> str:
    """Return the backend that is named, or the fastest; UserError if the model lacks its file."""
    backend = backend or ("litert" if (model / runs.LITERT_MODEL).exists() else "keras")
    if backend not in BACKENDS:
        raise UserError(f"backend {backend!r} is unknown: choose one of {', '.join(BACKENDS)}")
    file = model / BACKENDS[backend]
    if not file.exists():
        export = f"steel export {runs.model_name(model)}"
        cure = export if backend == "litert" else runs.WRITTEN_BY[runs.KERAS_MODEL]
        raise UserError(f"{file} is missing: run {cure}")
    return backend


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Return items in lists of a size, the last one shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def _load_litert(
    file: Path, classes: Sequence[str], name: str, tta_views: int, policy
) -> Predictor:
    from nbutils.inference.litert import LiteRTNetwork

    network = LiteRTNetwork(file)
    width = policy.gaussians.centers.shape[1] if policy else network.width - len(classes)
    if width < 1 or network.width != len(classes) + width:
        raise UserError(
            f"{file} does not fit {runs.MODEL_CARD} and {runs.NOVELTY} beside it: "
            f"write it again by steel export {name}"
        )
    return Predictor(network.map, classes, name, network.size, tta_views, policy)


def _load_keras(file: Path, classes: Sequence[str], name: str, tta_views: int, policy) -> Predictor:
    from nbutils.inference.export import keras_predictor
    from nbutils.models import layers  # noqa: F401  registers the project's own
    from nbutils.runtime import keras

    cure = f"run {runs.WRITTEN_BY[runs.KERAS_MODEL]} again"
    check_archive(file)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except REBUILDING as error:
        raise damaged(file, f"it cannot be loaded, {type(error).__name__}: {error}") from error
    if len(classes) != model.output_shape[-1]:
        raise UserError(
            f"{file} has {model.output_shape[-1]} classes, but {runs.MODEL_CARD} beside it names "
            f"{len(classes)}: {cure}"
        )
    return keras_predictor(model, classes, name, tta_views, policy)
