"""From the bytes of image files to predictions, and whether a person should review them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nbutils import runs
from nbutils.artefacts import UNPACKING, check_archive, damaged, read_card
from nbutils.data.images import decode, is_large, resize, symmetries
from nbutils.disk import UserError
from nbutils.inference import strips, windows
from nbutils.inference.defects import CellDecoder
from nbutils.inference.prediction import Prediction
from nbutils.runtime import batched
from nbutils.uncertainty.review import ReviewPolicy, load_policy

DEFAULT_MODEL = f"{runs.REFERENCE}/mobilenet_v2"
BACKENDS = {"keras": runs.KERAS_MODEL, "litert": runs.LITERT_MODEL}  # backend -> file of a model
BATCH_SIZE = 8  # images that stay in a processor's cache between layers
REBUILDING = (*UNPACKING, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError)


# From batches of images (n, size, size, 1) in [0, 255] to their outputs, in order: a row for each
# image, probabilities, then the embedding, then the cells (`export.in_one_row`).
Network = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


class Outputs(NamedTuple):
    """The output of a network for some images, before calibration."""

    probabilities: np.ndarray  # float (images, classes)
    embeddings: np.ndarray  # float32 (images, dimensions)
    cells: np.ndarray  # float32 (images, values), as `CellDecoder` reads them; empty without


@dataclass(eq=False)
class Predictor:
    """A network with its class names, and the policy that decides which predictions are reviewed.

    Test-time augmentation: with 4 views, probabilities of an image are the means over its turns,
    with 8 also over those of its mirror image.
    """

    network: Network
    classes: Sequence[str]  # names, in the order of the probabilities
    name: str  # of the model
    size: int  # pixels, side of the network's input
    tta_views: int = 1
    policy: ReviewPolicy | None = None  # calibrates and reviews; without, all is reviewed
    model: Any = None  # the Keras model behind the network, for activation maps
    decoder: CellDecoder | None = None  # of the network's cells, if it has some
    image_size: tuple[int, int] | None = None  # pixels, height and width of the training images
    scale: float = 1.0  # that images are enlarged by to be as those of training
    bit_depth: int | None = None  # of the 16-bit files that training saw

    def predict(
        self, images: Sequence[bytes], names: Sequence[str] | None = None
    ) -> list[Prediction]:
        """Classify images given as the bytes of their JPEG, PNG, BMP or TIFF files.

        Raises ImageError if one of them cannot be read; it calls them by `names`, or `image 1`,
        `image 2`, ...
        """
        names = names or [f"image {number}" for number in range(1, len(images) + 1)]
        grays = (
            decode(data, name, self.bit_depth) for data, name in zip(images, names, strict=True)
        )
        return list(self.predict_images(grays))

    def predict_image(self, gray: np.ndarray) -> Prediction:
        """Classify one image, uint8 (height, width) of any size."""
        return next(self.predict_images([gray]))

    def predict_images(self, grays: Iterable[np.ndarray]) -> Iterator[Prediction]:
        """Classify images, uint8 (height, width) of any size, in order."""
        return (prediction for prediction, _ in self.predict_and_embed(grays))

    def predict_and_embed(
        self, grays: Iterable[np.ndarray]
    ) -> Iterator[tuple[Prediction, np.ndarray]]:
        """Classify images as `predict_images`; return also the embedding, float32, of each.

        Those larger than the training images are predicted at their own scale, in windows.
        """
        images: list[np.ndarray] = []
        shapes: list[tuple[int, int]] = []
        for gray in grays:
            in_windows = self._is_large(gray)
            if not in_windows:
                images.append(self.to_input(gray))
                shapes.append((gray.shape[0], gray.shape[1]))
            if in_windows or len(images) == windows.GROUP:
                yield from self._predict_together(images, shapes)
                images, shapes = [], []
            if in_windows:
                yield strips.predict(self, gray)
        yield from self._predict_together(images, shapes)

    def _predict_together(
        self, images: Sequence[np.ndarray], shapes: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[Prediction, np.ndarray]]:
        outputs = self.forward(images)
        predictions = self.to_predictions(outputs, images, shapes)
        yield from zip(predictions, outputs.embeddings, strict=True)

    def to_input(self, gray: np.ndarray) -> np.ndarray:
        """Resize an image, uint8 (height, width), to the input of the network."""
        return resize(gray, self.size)

    def predict_arrays(self, images: Iterable[np.ndarray]) -> list[Prediction]:
        """Classify images, uint8 (size, size, 1) each, in order."""
        images = list(images)
        return self.to_predictions(self.forward(images), images)

    def forward(self, images: Iterable[np.ndarray], tta_views: int | None = None) -> Outputs:
        """Return the output of the network for images, uint8 (size, size, 1), before calibration.

        Probabilities are means over the views, by default those of the predictor; embeddings and
        cells are those of the images as they are.
        """
        views = tta_views or self.tta_views
        batches = (
            batch if views == 1 else np.concatenate(symmetries(batch)[:views])
            for batch in map(np.stack, batched(images, max(BATCH_SIZE // views, 1)))
        )
        outputs = [rows.reshape(views, len(rows) // views, -1) for rows in self.network(batches)]
        count = len(self.classes)
        if not outputs:
            return Outputs(np.empty((0, count)), *np.empty((2, 0, 0), np.float32))
        means = [rows[..., :count].mean(axis=0, dtype=float) for rows in outputs]
        probabilities = np.concatenate(means)
        others = np.concatenate([rows[0, :, count:] for rows in outputs])
        width = others.shape[1] - (self.decoder.values if self.decoder else 0)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return Outputs(probabilities, others[:, :width], others[:, width:])

    def to_predictions(
        self,
        outputs: Outputs,
        images: Iterable[np.ndarray],
        shapes: Sequence[tuple[int, int]] | None = None,
    ) -> list[Prediction]:
        """Turn the output of `forward` into predictions.

        The images are those that the network saw. Defects are in pixels of images of these shapes,
        height and width each, by default those of the network's input.
        """
        if not len(outputs.probabilities):
            return []
        shapes = shapes or [(self.size, self.size)] * len(outputs.probabilities)
        located = map(self._locate, outputs.cells, shapes)
        if not self.policy:
            rows = zip(outputs.probabilities, located, strict=True)
            return [Prediction(self._by_class(row), **where) for row, where in rows]
        each = self.policy.assess(outputs.probabilities, outputs.embeddings, images)
        predictions = (
            Prediction(
                self._by_class(each.probabilities[index]),
                float(each.novelty[index]),
                tuple(compress(self.classes, each.prediction_sets[index])),
                each.reasons[index] + each.degraded[index],
                float(each.risk[index]),
                is_novel=bool(each.is_novel[index]),
                is_degraded=bool(each.degraded[index]),
                **where,
            )
            for index, where in enumerate(located)
        )
        return list(map(self._hold_against_map, predictions))

    def _locate(self, cells: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
        """Return the map and the defects of an image, as fields of its prediction."""
        if not self.decoder:
            return {}
        defects = self.decoder.defects_in(cells, shape)
        return {"defect_map": self.decoder.split(cells)[0], "defects": defects}

    def _hold_against_map(self, prediction: Prediction) -> Prediction:
        """Have an image reviewed that is of a normal class, though its map shows a defect."""
        normal = self.decoder.normal if self.decoder else ()
        if prediction.label not in normal or not prediction.defects:
            return prediction
        surest = prediction.defects[0]
        reason = f"called {prediction.label}, though its map shows {surest.label}"
        return replace(
            prediction,
            reasons=(reason, *prediction.reasons),
            risk=max(prediction.risk, surest.confidence),
        )

    def sample(self, gray: np.ndarray) -> np.ndarray:
        """Return an image as the network sees it, or the middle of it if it is large."""
        if self._is_large(gray):
            (height, width), (window_height, window_width) = gray.shape, self.window
            top = max(height - window_height, 0) // 2
            left = max(width - window_width, 0) // 2
            gray = gray[top : top + window_height, left : left + window_width]
        return self.to_input(gray)

    def _is_large(self, gray: np.ndarray) -> bool:
        """Tell whether an image is cut into windows, or, at a given scale, completed to one."""
        if self.image_size is None:  # the scale of training is unknown
            return False
        is_part = self.scale != 1 and windows.is_small(gray.shape, self.window)
        return is_part or is_large(gray.shape, self.window)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the training images, in pixels of the images that are given."""
        height, width = self.image_size or (self.size, self.size)
        return max(round(height / self.scale), 1), max(round(width / self.scale), 1)

    def _by_class(self, row: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, row.tolist(), strict=True))


def load_predictor(
    model: str | Path | None = None, backend: str | None = None, scale: float = 1.0
) -> Predictor:
    """Load a trained model: a folder, `run/model`, or a run (`runs.find_model`).

    The backend is `litert`, which needs no TensorFlow and is the default where the model has been
    exported, or `keras`, which alone can draw activation maps. Images of another camera are
    enlarged by the scale (`windows.check_scale`). Raises UserError if there is no such model, or
    it is damaged, or its classes do not fit.
    """
    folder = runs.find_model(model or DEFAULT_MODEL)
    backend = find_backend(folder, backend)
    file = folder / BACKENDS[backend]
    card, policy = read_card(folder), load_policy(folder)
    classes, tta_views = card["classes"], card["tta_views"]
    if policy and len(policy.gaussians.centers) != len(classes):
        raise damaged(folder / runs.NOVELTY, f"{runs.MODEL_CARD} names {len(classes)} classes")
    load = _load_litert if backend == "litert" else _load_keras
    facts: dict[str, Any] = {"name": runs.model_name(folder), "policy": policy}
    facts |= {"tta_views": tta_views, "decoder": CellDecoder.from_card(card)}
    facts |= {"scale": windows.check_scale(scale, card), "bit_depth": card.get("bit_depth")}
    facts["image_size"] = tuple(card["image_size"]) if card.get("image_size") else None
    return load(file, classes, **facts)


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


def _load_litert(file: Path, classes: Sequence[str], **facts: Any) -> Predictor:
    from nbutils.models.litert import LiteRTNetwork

    network, policy, decoder = LiteRTNetwork(file), facts["policy"], facts["decoder"]
    known = len(classes) + (decoder.values if decoder else 0)
    width = policy.gaussians.centers.shape[1] if policy else network.width - known
    if width < 1 or network.width != known + width:
        raise UserError(
            f"{file} does not fit {runs.MODEL_CARD} and {runs.NOVELTY} beside it: "
            f"write it again by steel export {facts['name']}"
        )
    return Predictor(network.map, classes, size=network.size, **facts)


def _load_keras(file: Path, classes: Sequence[str], **facts: Any) -> Predictor:
    from nbutils.inference.export import keras_predictor
    from nbutils.models import layers  # noqa: F401  registers the project's own
    from nbutils.runtime import keras

    cure = f"run {runs.WRITTEN_BY[runs.KERAS_MODEL]} again"
    check_archive(file)
    try:
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    except REBUILDING as error:
        raise damaged(file, f"it cannot be loaded, {type(error).__name__}: {error}") from error
    count = model.outputs[0].shape[-1]
    if len(classes) != count:
        raise UserError(
            f"{file} has {count} classes, but {runs.MODEL_CARD} beside it names "
            f"{len(classes)}: {cure}"
        )
    return keras_predictor(model, classes, **facts)
