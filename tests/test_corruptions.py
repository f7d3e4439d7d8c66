"""Corruptions: seeded, graded by severity, and of the image's shape."""

import numpy as np
import pytest

from nbutils.data import corruptions, synthetic
from nbutils.data.corruptions import AUGMENTATION, FAMILIES, SEVERITIES, corrupt


@pytest.fixture(scope="module")
def steel():
    """A SYNTHETIC scratch: uint8, 200 x 200."""
    return synthetic.draw("scratches", np.random.default_rng(0))[0]


@pytest.mark.parametrize("family", FAMILIES | AUGMENTATION)
def test_families_grow_with_severity_and_keep_the_shape(family, steel):
    changes = []
    for severity in (0, *SEVERITIES):
        corrupted = corrupt(steel, family, severity, np.random.default_rng(1))
        assert corrupted.shape == steel.shape
        assert corrupted.dtype == np.uint8
        changes.append(np.abs(corrupted.astype(float) - steel).mean())
    assert changes[0] < 2, "severity 0 is next to nothing"
    assert all(np.diff(changes) > 0)
    assert changes[-1] > 3


@pytest.mark.parametrize("family", FAMILIES | AUGMENTATION)
def test_corruptions_depend_on_the_seed_alone(family, steel):
    first, again = (corrupt(steel, family, 3, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, again)


@pytest.mark.parametrize("snr", [50, 40, 30, 20])
def test_noise_has_the_given_signal_to_noise_ratio(snr):
    gray = np.full((200, 200), 120, np.uint8)
    noise = corruptions.add_noise(gray, snr, np.random.default_rng(0)).astype(float) - gray
    measured = 10 * np.log10(120**2 / (noise.var() + 1e-9))
    assert measured == pytest.approx(snr, abs=1.5)  # gray values are rounded


def test_motion_blur_smears_a_point_into_a_line():
    point = np.zeros((101, 101), np.uint8)
    point[50, 50] = 255
    line = corrupt(point, "motion_blur", 5, np.random.default_rng(0)) > 5
    rows, columns = np.nonzero(line)
    spread = np.linalg.eigvalsh(np.cov(rows, columns))
    assert spread[1] > 10 * spread[0]


def test_held_out_families_are_not_trained_on():
    assert not set(corruptions.HELD_OUT) & set(corruptions.TRAINING | corruptions.AUGMENTATION)
    assert "quantization" in corruptions.HELD_OUT


def test_corrupted_copies_follow_the_images(steel):
    images = np.stack([steel, 255 - steel, steel.T])[..., np.newaxis]
    y = np.array([4, 1, 2])
    both, labels = corruptions.with_corrupted_copies(images, y, strength=1.0, copies=2, seed=0)
    assert labels.tolist() == [4, 1, 2] * 3
    assert np.array_equal(both[:3], images)
    assert not np.array_equal(both[3:6], images)
    assert not np.array_equal(both[3:6], both[6:])
    again, _ = corruptions.with_corrupted_copies(images, y, strength=1.0, copies=2, seed=0)
    assert np.array_equal(both, again)


def test_copies_are_as_of_a_camera_and_training_sees_more(steel, monkeypatch):
    drawn = set()
    monkeypatch.setattr(
        corruptions, "corrupt", lambda gray, family, *_: (drawn.add(family), gray)[1]
    )
    images, y = np.stack([steel] * 100)[..., np.newaxis], np.zeros(100, int)
    corruptions.with_corrupted_copies(images, y, strength=1.0, copies=2, seed=0)
    assert drawn == {*corruptions.TRAINING, "elastic"}
    corruptions.random_corruption(images, np.arange(100), 1.0)
    assert drawn == set(corruptions.TRAINING | corruptions.AUGMENTATION)


def test_strength_0_gives_no_copies(steel):
    images, y = steel[np.newaxis, ..., np.newaxis], np.array([1])
    both, labels = corruptions.with_corrupted_copies(images, y, strength=0, copies=2, seed=0)
    assert np.array_equal(both, images)
    assert labels.tolist() == [1]
