"""When to believe a model: calibrated probabilities, candidates, novelty, and reasons to doubt."""

import zipfile
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from threadpoolctl import ThreadpoolController

from nbutils import paths
from nbutils.paths import UserError

CANDIDATES = "95"  # per cent, the level of `Prediction.candidates`
LIMITS, NOVELTY = "limits.json", "novelty.npz"  # beside a run's model
TINY = 1e-12  # least probability that logarithms see


@dataclass(frozen=True)
class Limits:
    """From where on an answer is doubted; fitted without the test part."""

    temperature: float  # divides the logits
    floors: dict[str, float]  # level in per cent -> probability from which a class is a candidate
    confidence: float  # below it, a person looks
    novelty: float  # above it, a person looks


@dataclass(frozen=True)
class Gaussians:
    """A normal distribution of embeddings for each class."""

    centers: np.ndarray  # float32 (classes, dimensions)
    whitening: np.ndarray  # float32 (classes, dimensions, dimensions)

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """Return how far embeddings (images, dimensions) are from the nearest class.

        That is the Mahalanobis distance over the root of the dimensions: about 1 for images like
        those it was fitted to. Shape (images,).
        """
        classes, dimensions = self.centers.shape
        with _blas().limit(limits=1, user_api="blas"):  # more would wait for one another
            whitened = embeddings @ self._side_by_side - self._whitened_centers
        parts = whitened.reshape(-1, classes, dimensions)
        squares = np.einsum("ncd,ncd->nc", parts, parts)
        return np.sqrt(squares.min(axis=1) / dimensions)

    @cached_property
    def _side_by_side(self) -> np.ndarray:
        """The whitenings as one matrix: (dimensions, classes x dimensions)."""
        return np.hstack(list(self.whitening))

    @cached_property
    def _whitened_centers(self) -> np.ndarray:
        return np.hstack([c @ w for c, w in zip(self.centers, self.whitening, strict=True)])


@dataclass(frozen=True)
class Trust:
    """Limits, and the training images that novelty is measured from."""

    limits: Limits
    gaussians: Gaussians

    def judge(self, raw: np.ndarray, embeddings: np.ndarray) -> tuple:
        """Judge a network's answers (`Predictor.answers`).

        Returns
        -------
        Calibrated probabilities (images, classes), novelty (images,), candidates, bool (images,
        classes), and for each image the reasons to doubt, in words.
        """
        chances = soften(raw, self.limits.temperature)
        novelty = self.gaussians.distances(embeddings)
        candidates = sets(chances, self.limits.floors[CANDIDATES])
        reasons = [self._doubts(*pair) for pair in zip(chances.max(axis=1), novelty, strict=True)]
        return chances, novelty, candidates, reasons

    def save(self, run: Path) -> None:
        """Write `limits.json` and, in half precision, `novelty.npz` beside a run's model."""
        halves = {
            field.name: getattr(self.gaussians, field.name).astype(np.float16)
            for field in fields(Gaussians)
        }
        with paths.replacing(run / NOVELTY) as beside:
            np.savez_compressed(beside, **halves)
        paths.write_json(asdict(self.limits), run / LIMITS)

    def _doubts(self, confidence: float, novelty: float) -> tuple[str, ...]:
        found = []
        if confidence < self.limits.confidence:
            found.append(f"confidence {confidence:.1%} is below {self.limits.confidence:.1%}")
        if novelty > self.limits.novelty:
            limit = f"limit {self.limits.novelty:.2f}"
            found.append(f"unlike the training images: novelty {novelty:.2f}, {limit}")
        return tuple(found)


def soften(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits behind probabilities by a temperature.

    Guo, Pleiss, Sun and Weinberger, ICML 2017 (arXiv:1706.04599). The order of the classes stays.

    Parameters
    ----------
    probabilities
        Shape (images, classes), rows of sum 1.
    temperature
        Above 1 doubts more, below 1 less.

    Returns
    -------
    float array of the same shape, rows of sum 1.
    """
    logits = np.log(np.maximum(probabilities, TINY)) / temperature
    scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
    return scaled / scaled.sum(axis=1, keepdims=True)


def sets(probabilities: np.ndarray, floor: float) -> np.ndarray:
    """Return the classes at least as probable as a floor, bool (images, classes); never none."""
    members = probabilities >= floor
    members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
    return members


@cache
def _blas() -> ThreadpoolController:
    """Find the libraries of linear algebra, once."""
    return ThreadpoolController()


def load(run: Path) -> Trust | None:
    """Read what `Trust.save` wrote; None where there is nothing, UserError where it is damaged."""
    if not (run / LIMITS).exists():
        return None
    facts = paths.read_json(run / LIMITS, "02_training")
    try:
        limits = Limits(*(facts[field.name] for field in fields(Limits)))
        with np.load(run / NOVELTY) as arrays:
            parts = (arrays[field.name].astype(np.float32) for field in fields(Gaussians))
            gaussians = Gaussians(*parts)
    except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{run / LIMITS} and {NOVELTY} beside it cannot be read ({error}): "
            "run 02_training again"
        ) from error
    return Trust(limits, gaussians)


def forget(run: Path) -> None:
    """Remove the limits of a model that is trained anew."""
    for name in (LIMITS, NOVELTY):
        (run / name).unlink(missing_ok=True)
