"""SYNTHETIC images as files, for trying the demo."""

import io

import numpy as np
from PIL import Image

from nbutils import synthetic


def drawn(seed: int) -> list[tuple[str, bytes]]:
    """Draw one SYNTHETIC image of each NEU-DET class, as PNG files."""
    files = []
    for at, label in enumerate(synthetic.DRAWERS):
        gray, _ = synthetic.draw(label, np.random.default_rng((seed, at)))
        files.append((f"SYNTHETIC {label}.png", png(gray)))
    return files


def png(gray: np.ndarray) -> bytes:
    """Write gray values, uint8 (height, width), as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    return file.getvalue()
