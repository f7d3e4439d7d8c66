"""SYNTHETIC stand-in for NEU-DET: drawn images of the six classes, with boxes, in its layout.

Nothing here is measured on steel. It lets every notebook and test run without the database; no
result on it says anything about real surfaces.
"""

import io
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom
from tqdm.auto import tqdm

from nbutils.disk import disk_errors
from nbutils.runs import SYNTHETIC

SIDE = 200  # pixels
MARGIN = 3  # pixels, around a defect in its box
N_PER_CLASS = 300
Box = tuple[int, int, int, int]  # xmin, ymin, xmax, ymax in pixels, both ends inside


def write_dataset(folder: Path, per_class: int | None = None, seed: int = 0) -> Path:
    """Write the SYNTHETIC images where they are not there yet, and return their folder.

    Each image has a random generator of its own (seed, class, number), so that it is the same
    however many are drawn.

    Parameters
    ----------
    folder
        Where they go, in NEU-DET's layout.
    per_class
        Images of each class, default `N_PER_CLASS`.
    seed
        Of the random draws.
    """
    if is_synthetic(folder):
        return folder
    with disk_errors(folder):
        return _write(folder, per_class or N_PER_CLASS, seed)


def _write(folder: Path, per_class: int, seed: int) -> Path:
    for part in ("IMAGES", "ANNOTATIONS"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index, label in enumerate(tqdm(DRAWERS, desc="Drawing SYNTHETIC images", unit="class")):
        for number in range(1, per_class + 1):
            gray, boxes = draw(label, np.random.default_rng((seed, index, number)))
            name = f"{label}_{number}"
            Image.fromarray(gray).save(folder / "IMAGES" / f"{name}.jpg", quality=95)
            _annotation(name, label, boxes).write(folder / "ANNOTATIONS" / f"{name}.xml")
    (folder / SYNTHETIC).write_text(f"SYNTHETIC images: {per_class} a class, seed {seed}\n")
    return folder


def is_synthetic(folder: Path) -> bool:
    """Tell whether a folder holds SYNTHETIC images."""
    return (folder / SYNTHETIC).exists()


def draw(label: str, rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    """Draw one SYNTHETIC image of a class.

    Returns
    -------
    uint8 array of shape (200, 200), and the boxes around its defects.
    """
    values, boxes = DRAWERS[label](rng)
    slope = rng.uniform(-0.1, 0.1, 2)
    grid = np.linspace(-1, 1, SIDE)
    values = values + slope[0] * grid[:, None] + slope[1] * grid
    return (values.clip(0, 1) * 255).round().astype(np.uint8), boxes


def example_files(seed: int) -> list[tuple[str, bytes]]:
    """Draw one SYNTHETIC image of each NEU-DET class, as PNG files."""
    files = []
    for index, label in enumerate(DRAWERS):
        gray, _ = draw(label, np.random.default_rng((seed, index)))
        files.append((f"SYNTHETIC {label}.png", encode_png(gray)))
    return files


def encode_png(gray: np.ndarray) -> bytes:
    """Write gray values, uint8 (height, width), as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    return file.getvalue()


def _noise(rng: np.random.Generator, sigma: float | tuple[float, float]) -> np.ndarray:
    """Smooth noise with mean 0 and standard deviation 1; sigma in pixels (vertical, horizontal)."""
    field = gaussian_filter(rng.normal(size=(SIDE, SIDE)), sigma, mode="wrap")
    return (field - field.mean()) / field.std()


def _steel(rng: np.random.Generator, level: float, grain: float) -> np.ndarray:
    """A rolled surface: level in [0, 1], grain as the contrast of its texture."""
    return level + grain * (_noise(rng, 0.7) + _noise(rng, (12, 1)) + 0.5 * _noise(rng, 25))


def _ellipse(center: Sequence[float], radii: tuple[float, float], tilt: float) -> np.ndarray:
    """A soft-edged ellipse: 1 inside, 0 outside; (x, y) in pixels, tilt in radians."""
    y, x = np.mgrid[:SIDE, :SIDE]
    dx, dy = x - center[0], y - center[1]
    u = dx * np.cos(tilt) + dy * np.sin(tilt)
    v = dy * np.cos(tilt) - dx * np.sin(tilt)
    distance = np.hypot(u / radii[0], v / radii[1])
    return ((1.2 - distance) / 0.4).clip(0, 1)


def _box_of(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = (max(int(first) - MARGIN, 1) for first in (columns[0], rows[0]))
    right, bottom = (min(int(last) + MARGIN, SIDE - 1) for last in (columns[-1], rows[-1]))
    return left, top, right, bottom


def _crazing(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    values = _steel(rng, rng.uniform(0.45, 0.65), 0.08)
    cracks = np.zeros((SIDE, SIDE))
    for _ in range(rng.integers(14, 30)):
        length = rng.integers(25, 90)
        x = rng.integers(0, SIDE - 10) + np.arange(length)
        y = rng.uniform(5, SIDE - 5) + np.cumsum(rng.normal(0, 0.8, length))
        inside = (x < SIDE) & (y >= 0) & (y < SIDE)
        cracks[y[inside].astype(int), x[inside]] = rng.uniform(0.5, 1)
    values -= rng.uniform(0.5, 0.9) * gaussian_filter(cracks, 0.8) * 1.5
    return values, [_box_of(cracks)]


def _inclusion(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    values = _steel(rng, rng.uniform(0.3, 0.8), 0.015)
    boxes = []
    for _ in range(rng.integers(1, 3)):
        x, y = rng.uniform(20, 180), rng.uniform(40, 160)
        spots = np.zeros((SIDE, SIDE))
        for _ in range(rng.integers(2, 7)):
            center = x + rng.normal(0, 5), y + rng.normal(0, 22)
            radii = rng.uniform(1.5, 5), rng.uniform(7, 22)
            spots = np.maximum(spots, _ellipse(center, radii, rng.normal(0, 0.1)))
        if spots.any():
            values -= rng.uniform(0.1, 0.25) * spots
            boxes.append(_box_of(spots))
    return values, boxes


def _patches(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    values = _steel(rng, rng.uniform(0.4, 0.85), 0.09)
    boxes = []
    for _ in range(rng.integers(1, 4)):
        center = rng.uniform(30, 170, 2).tolist()
        radii = rng.uniform(14, 28), rng.uniform(22, 55)
        ragged = _ellipse(center, radii, rng.normal(0, 0.5)) + 0.25 * _noise(rng, 7) > 0.5
        blob = gaussian_filter(ragged.astype(float), 3) * _ellipse(center, (60, 75), 0)
        values -= rng.uniform(0.3, 0.5) * blob
        boxes.append(_box_of(blob > 0.5))
    return values, boxes


def _pitted_surface(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    values = _steel(rng, rng.uniform(0.35, 0.85), 0.025)
    width = rng.uniform(15, 90)
    middle = rng.uniform(30, 170)
    pits = np.zeros((SIDE, SIDE))
    for _ in range(rng.integers(70, 160)):
        x, y = int(rng.normal(middle, width)), rng.integers(4, SIDE - 4)
        if 4 <= x < SIDE - 4:
            half_x, half_y = rng.integers(1, 3), rng.integers(1, 5)
            pits[y - half_y : y + half_y, x - half_x : x + half_x] = rng.uniform(0.4, 1)
    values -= rng.uniform(0.12, 0.25) * gaussian_filter(pits, 1) * 1.4
    return values, [_box_of(pits)]


def _rolled_in_scale(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    values = _steel(rng, rng.uniform(0.25, 0.6), 0.03)
    brushed = np.kron(rng.normal(size=(1, 100)), np.ones((SIDE, 2)))
    shear = (np.arange(SIDE)[:, None] * rng.uniform(-0.8, 0.8) + np.arange(SIDE)).astype(int)
    values += 0.03 * np.take(brushed[0], shear % SIDE)
    flakes = _noise(rng, (2.5, 3.5)) + 1.2 * _noise(rng, 30)
    dark = (flakes > rng.uniform(2.4, 3.0)).astype(float)
    if not dark.any():
        dark = (flakes > np.quantile(flakes, 0.99)).astype(float)
    soft = gaussian_filter(dark, 1)
    bright = np.roll(soft, (-2, 2), (0, 1))
    return values - rng.uniform(0.2, 0.35) * soft + 0.12 * bright * (1 - soft), [_box_of(dark)]


def _scratches(rng: np.random.Generator) -> tuple[np.ndarray, list[Box]]:
    values = _steel(rng, rng.uniform(0.2, 0.5), 0.02)
    boxes = []
    upright = rng.random() < 0.5
    for _ in range(rng.integers(1, 4)):
        along, across = rng.uniform(60, 200), rng.choice([1.0, 1.5, 2.5, 6.0])
        center = rng.uniform(10, 190), rng.uniform(30, 170)
        line = _ellipse(center, (along / 2, across), rng.normal(0, 0.05))
        line *= 0.6 + 0.4 * zoom(rng.random((1, 20)), (SIDE, SIDE / 20), order=1)
        line = line.T if upright else line
        if (line > 0.2).any():
            values += rng.uniform(0.25, 0.6) * line
            boxes.append(_box_of(line > 0.2))
    return values, boxes


def _annotation(name: str, label: str, boxes: list[Box]) -> ET.ElementTree:
    """Write boxes as NEU-DET does: a Pascal VOC tree."""
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = f"{name}.jpg"
    ET.SubElement(ET.SubElement(root, "source"), "database").text = "SYNTHETIC"
    size = ET.SubElement(root, "size")
    for key, value in (("width", SIDE), ("height", SIDE), ("depth", 1)):
        ET.SubElement(size, key).text = str(value)
    for box in boxes:
        node = ET.SubElement(root, "object")
        ET.SubElement(node, "name").text = label
        corners = ET.SubElement(node, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ET.SubElement(corners, key).text = str(value)
    return ET.ElementTree(root)


DRAWERS: dict[str, Callable[[np.random.Generator], tuple[np.ndarray, list[Box]]]] = {
    "crazing": _crazing,
    "inclusion": _inclusion,
    "patches": _patches,
    "pitted_surface": _pitted_surface,
    "rolled-in_scale": _rolled_in_scale,
    "scratches": _scratches,
}
