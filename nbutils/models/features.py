"""Features of a frozen backbone, computed once for each image and kept in a cache."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from nbutils import disk, runs
from nbutils.data.images import symmetries
from nbutils.disk import UserError
from nbutils.models.litert import LiteRTNetwork, write_litert
from nbutils.runtime import keras


def extract(backbone: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the features of images in all eight symmetries, from the cache where it has them.

    The cache is a file in `outputs/cache` for each backbone, size and weights, and knows each image
    by its pixels. What is missing or unreadable there is computed. The backbone is one of
    `networks.feature_extractor`, images are uint8, (images, size, size, 1), and features float32,
    (images, 8, channels).
    """
    file = cache_file(backbone)
    cached = _read_cache(file)
    keys = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    missing = [index for index, key in enumerate(keys) if key not in cached]
    if missing:
        computed = compute(backbone, images[missing])
        cached |= {keys[index]: row for index, row in zip(missing, computed, strict=True)}
        with disk.atomic_write(file) as tmp:
            np.savez(tmp, keys=list(cached), features=np.stack(list(cached.values())))
    return np.stack([cached[key] for key in keys])


def compute(backbone: keras.Model, images: np.ndarray) -> np.ndarray:
    """Compute features as `extract` does, without their cache.

    The eight views of an image are one batch: it stays in the processor's cache.
    """
    batches = (symmetries(image[np.newaxis])[:, 0] for image in images)
    outputs = _network(backbone, cache_file(backbone).with_suffix(".tflite")).map(batches)
    name = f"Features of {backbone.name}"
    return np.stack(list(tqdm(outputs, name, len(images), unit="image", leave=False)))


def _network(backbone: keras.Model, file: Path) -> LiteRTNetwork:
    """Load a backbone from its file in the cache, which is written if missing or damaged."""
    if file.exists():
        try:
            return LiteRTNetwork(file)
        except UserError:
            print(f"{file} is damaged: it is written again")
    write_litert(backbone, file)
    return LiteRTNetwork(file)


def cache_file(backbone: keras.Model) -> Path:
    """Return where a backbone's features are kept: by its name, size, layers and weights."""
    digest = hashlib.sha256(repr([type(layer).__name__ for layer in backbone.layers]).encode())
    for weights in backbone.get_weights():
        digest.update(weights.tobytes())
    name = f"{backbone.name}_{backbone.input_shape[1]}_{digest.hexdigest()[:12]}.npz"
    return runs.OUTPUTS / runs.CACHE / name


def _read_cache(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as cache:
            return dict(zip(cache["keys"].tolist(), cache["features"], strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        print(f"{file} is damaged: the features are computed again")
        return {}
