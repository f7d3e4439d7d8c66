"""Stretches of images that are degraded alike, on drawn statistics."""

import numpy as np
import pytest

from nbutils.uncertainty import stretches

BETWEEN = np.array([0.6, 0.4, 0.3])  # variance of the means of strips


def statistics(images=1000, seed=0):
    """Draw statistics of unchanged images of six classes, which come in any order."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (images, 3)), rng.integers(6, size=images)


def found(values, y):
    return [(each.change, each.first, each.last) for each in stretches.find(values, y, BETWEEN)]


@pytest.mark.parametrize("seed", range(5))
def test_unchanged_images_have_none(seed):
    assert found(*statistics(seed=seed)) == []


def test_images_of_one_class_scatter_together():
    values, y = statistics()
    strips = np.random.default_rng(1).normal(0, np.sqrt(BETWEEN), (20, 3)).repeat(50, axis=0)
    assert found(values + strips, y * 0) == []


@pytest.mark.parametrize(
    ("column", "shift", "change"),
    [(0, -4, "darker than in training"), (1, -4, "flat, of low contrast"), (2, -3, "out of focus"),
     (2, 3, "noisy or too sharp")],
)  # fmt: skip
def test_a_stretch_is_found_where_it_is(column, shift, change):
    values, y = statistics()
    values[400:650, column] += shift
    [(named, first, last)] = found(values, y)
    assert named == change
    assert abs(first - 400) <= 8 and abs(last - 649) <= 8


def test_one_that_reaches_the_end_ends_there():
    values, y = statistics()
    values[700:, 2] -= 3
    [(_, first, last)] = found(values, y)
    assert (abs(first - 700) <= 8, last) == (True, 999)


def test_blur_that_also_takes_contrast_is_said_once():
    values, y = statistics()
    values[300:500, 2] -= 5
    values[300:500, 1] -= 2.5
    assert [change for change, _, _ in found(values, y)] == ["out of focus"]


def test_two_kinds_of_wear_are_two_stretches():
    values, y = statistics()
    values[100:300, 0] -= 4
    values[300:500, 2] -= 4
    changes = [change for change, _, _ in found(values, y)]
    assert changes == ["darker than in training", "out of focus"]


def test_a_few_images_are_no_stretch():
    values, y = statistics()
    values[500:510, 2] -= 9
    assert found(values, y) == []
    assert found(values[:19] - 9, y[:19]) == []


def test_blocks_make_no_difference(monkeypatch):
    values, y = statistics()
    values[400:650, 2] -= 3
    whole = found(values, y)
    monkeypatch.setattr(stretches, "BLOCK", 64)
    assert found(values, y) == whole
