"""Shortcuts: what tells a class without the surface."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from nbutils.data import datasets, shortcuts
from nbutils.data.images import pixel_hash
from nbutils.disk import UserError


def write_images(
    folder, per_class=20, formats=("JPEG", "JPEG"), widths=(64, 64), qualities=(90, 90)
):
    """Save noise of the same statistics for classes a and b; return their table and measures."""
    rng = np.random.default_rng(0)
    rows = []
    for label, format_, width, quality in zip("ab", formats, widths, qualities, strict=True):
        for number in range(per_class):
            gray = rng.integers(0, 256, (64, width + int(rng.integers(0, 4)))).astype(np.uint8)
            file = folder / f"{label}_{number}.jpg"  # whatever the format is
            Image.fromarray(gray).save(file, format_, quality=quality)
            digest = pixel_hash(np.asarray(Image.open(file)))
            boxes = [(label, 0, 0, gray.shape[1] // 2, 32)]
            rows.append((str(file), label, gray.shape[1], 64, digest, boxes))
    columns = ["path", "label", "width", "height", "sha256", "boxes"]
    table = pd.DataFrame(rows, columns=columns)
    measures = rng.normal(100, 1, (len(rows), 3))
    return table, pd.DataFrame(measures, columns=shortcuts.APPEARANCE)


def test_nothing_is_reported_without_a_shortcut(tmp_path):
    assert shortcuts.find(*write_images(tmp_path)).empty


@pytest.mark.parametrize(
    ("settings", "feature", "words"),
    [
        ({"formats": ("PNG", "BMP")}, "format_", "all 20 PNG files are of a: a model may learn"),
        ({"widths": (64, 96)}, "width", "pixels wide where others are"),
        ({"qualities": (95, 60)}, "quantization", "a model may learn the compression"),
    ],
)
def test_format_size_and_compression_are_named(tmp_path, settings, feature, words):
    result = shortcuts.find(*write_images(tmp_path, **settings))
    assert set(result["class"]) == {"a", "b"}
    assert result["feature"].str.startswith(feature).all()
    assert (result["score"] > 0.9).all()
    assert result["sentence"].str.contains(words).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"formats": ("PNG", "BMP")},
        {"widths": (64, 96)},
        {"qualities": (95, 60)},
        {"formats": ("PNG", "JPEG"), "widths": (64, 96), "qualities": (0, 40)},
    ],
)
def test_nothing_is_found_in_copies_that_are_encoded_alike(tmp_path, settings):
    table, measures = write_images(tmp_path, **settings)
    found = shortcuts.find(table, measures)
    assert found["sentence"].str.endswith("REENCODE makes all files alike").all()
    copies = shortcuts.reencode(table, tmp_path / "copies")
    assert len(found)
    assert shortcuts.find(copies, measures).empty
    assert (shortcuts.file_features(copies).nunique() == 1).all()
    assert {gray.shape for gray in datasets.read_originals(copies)} == {
        (copies["height"][0], copies["width"][0])
    }
    with pytest.raises(UserError, match="holds copies already"):
        shortcuts.reencode(copies, tmp_path / "copies")
    assert all(Path(path).exists() for path in copies["path"])
    for _, left, top, right, bottom in copies["boxes"].explode():
        assert (left, top, bottom) == (0, 0, 32)
        assert abs(right - copies["width"][0] / 2) <= 1


def blockiness(table):
    """The steps across the borders of JPEG's blocks, over the steps elsewhere."""
    ratios = []
    for gray in datasets.read_originals(table):
        steps = np.abs(np.diff(gray.astype(float), axis=1)).mean(axis=0)
        is_border = np.arange(1, gray.shape[1]) % 8 == 0
        ratios.append(steps[is_border].mean() / steps[~is_border].mean())
    return np.array(ratios)


def test_the_traces_of_compression_are_alike_in_the_copies(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for label, (format_, quality) in {"a": ("PNG", 0), "b": ("JPEG", 15)}.items():
        for number in range(8):
            gray = gaussian_filter(rng.uniform(0, 255, (64, 64)), 1.5)
            gray = np.clip(128 + 5 * (gray - 128), 0, 255).astype(np.uint8)
            file = tmp_path / f"{label}_{number}"
            Image.fromarray(gray).save(file, format_, quality=quality)
            digest = pixel_hash(np.asarray(Image.open(file)))
            rows.append((str(file), label, 64, 64, digest, []))
    columns = ["path", "label", "width", "height", "sha256", "boxes"]
    table = pd.DataFrame(rows, columns=columns)
    gaps = []
    for images in (table, shortcuts.reencode(table, tmp_path / "copies")):
        by_class = pd.Series(blockiness(images)).groupby(table["label"]).mean()
        gaps.append(abs(by_class["a"] - by_class["b"]))
    assert gaps[1] < gaps[0] / 5


def test_brightness_is_the_surface_and_no_shortcut(tmp_path):
    table, measures = write_images(tmp_path)
    measures["brightness"] += 50 * (table["label"] == "a")
    assert shortcuts.find(table, measures).empty


def test_classes_too_small_to_tell_are_left_out(tmp_path):
    assert shortcuts.find(*write_images(tmp_path, per_class=4, widths=(64, 96))).empty
