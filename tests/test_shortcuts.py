"""Shortcuts: what tells a class without the surface."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nbutils.data import shortcuts


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
            rows.append((str(file), label, gray.shape[1], 64))
    table = pd.DataFrame(rows, columns=["path", "label", "width", "height"])
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


def test_brightness_is_the_surface_and_no_shortcut(tmp_path):
    table, measures = write_images(tmp_path)
    measures["brightness"] += 50 * (table["label"] == "a")
    assert shortcuts.find(table, measures).empty


def test_classes_too_small_to_tell_are_left_out(tmp_path):
    assert shortcuts.find(*write_images(tmp_path, per_class=4, widths=(64, 96))).empty
