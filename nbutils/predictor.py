"""From the bytes of image files to predictions: what a network answers, and whether to trust it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from nbutils.images import symmetries, to_array
from nbutils.trust import Trust

BATCH = 8  # what stays in a processor's cache between layers
NO_LIMITS = ("the model has no limits to doubt it by: run 02_training again",)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image."""

    probabilities: dict[str, float]  # by class name, sum 1
    novelty: float = np.nan  # about 1 for images like those of training; higher is less like them
    candidates: tuple[str, ...] = ()  # classes that hold the true one 95 times in 100
    reasons: tuple[str, ...] = NO_LIMITS  # why a person should look, in words

    @property
    def label(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.get)

    @property
    def confidence(self) -> float:
        """The probability of that class, in [0, 1]."""
        return self.probabilities[self.label]

    @property
    def verdict(self) -> str:
        """`accept`, or `review` where there is a reason to."""
        return "review" if self.reasons else "accept"

    def top(self, k: int) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, highest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]


class Predictor:
    """A network with its class names, and the limits of its trust.

    Parameters
    ----------
    network
        Has `map`, from an iterator of batches of images (n, size, size, 1) in [0, 255] to an
        iterator of rows: probabilities, then the embedding (`answering.answering`).
    classes
        Names, in the order of the probabilities.
    name
        Of the model.
    size
        Side of the network's input in pixels.
    views
        With 8, the probabilities of an image are the means over its turns and mirrorings.
    trust
        Calibrates and doubts; without it, every verdict is `review`.
    model
        The Keras model behind the network, for activation maps.
    """

    def __init__(
        self,
        network,
        classes: Sequence[str],
        name: str,
        size: int,
        views: int = 1,
        trust: Trust | None = None,
        model=None,
    ):
        self.network = network
        self.classes = tuple(classes)
        self.name = name
        self.size = size
        self.views = views
        self.trust = trust
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
        names = names or [f"image {at}" for at in range(1, len(images) + 1)]
        return self.judge(
            to_array(data, self.size, name) for data, name in zip(images, names, strict=True)
        )

    def judge(self, squares: Iterable[np.ndarray]) -> list[Prediction]:
        """Classify images, uint8 (size, size, 1) each; they are taken as the network needs them."""
        return self.told(*self.answers(squares))

    def told(self, raw: np.ndarray, embeddings: np.ndarray) -> list[Prediction]:
        """Turn `answers` into predictions."""
        if not len(raw):
            return []
        if not self.trust:
            return [Prediction(self._named(row)) for row in raw]
        return [
            Prediction(self._named(row), float(novelty), self._members(candidates), reasons)
            for row, novelty, candidates, reasons in zip(
                *self.trust.judge(raw, embeddings), strict=True
            )
        ]

    def answers(
        self, squares: Iterable[np.ndarray], views: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what the network says, before it is calibrated.

        Parameters
        ----------
        squares
            uint8, shape (size, size, 1) each.
        views
            Default is the predictor's own.

        Returns
        -------
        Probabilities, float (images, classes), means over the views; and embeddings of the images
        as they are, float32 (images, dimensions).
        """
        views = views or self.views
        batches = (
            images if views == 1 else np.concatenate(symmetries(images)[:views])
            for images in _in_batches(squares, max(BATCH // views, 1))
        )
        rows = [row.reshape(views, len(row) // views, -1) for row in self.network.map(batches)]
        known = len(self.classes)
        if not rows:
            return np.empty((0, known)), np.empty((0, 0), np.float32)
        chances = np.concatenate([row[..., :known].mean(axis=0, dtype=float) for row in rows])
        embeddings = np.concatenate([row[0, :, known:] for row in rows])
        return chances / chances.sum(axis=1, keepdims=True), embeddings

    def _named(self, row: np.ndarray) -> dict[str, float]:
        return dict(zip(self.classes, row.tolist(), strict=True))

    def _members(self, candidates: np.ndarray) -> tuple[str, ...]:
        return tuple(label for label, held in zip(self.classes, candidates, strict=True) if held)


def _in_batches(squares: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    squares = iter(squares)
    while images := list(islice(squares, size)):
        yield np.stack(images)
