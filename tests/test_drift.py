"""Drift of batches, on drawn textures."""

import numpy as np
import pytest

from nbutils import runs
from nbutils.data.images import image_statistics
from nbutils.disk import UserError
from nbutils.evaluation import robustness
from nbutils.inference.predictor import Predictor
from nbutils.uncertainty import drift, novelty
from nbutils.uncertainty.review import ReviewPolicy, Thresholds


def by_brightness(batches):
    """A network that tells classes by their gray level, and embeds ten parts of the image."""
    for images in batches:
        level = images.mean(axis=(1, 2, 3))[:, np.newaxis]
        scores = np.exp(-(((level - 100 - 10 * np.arange(6)) / 8) ** 2)) + 1e-6
        parts = images.reshape(len(images), 10, -1).astype(float).mean(axis=2)
        yield np.hstack([scores / scores.sum(axis=1, keepdims=True), parts])


def textures(seed):
    """Draw 240 images of six gray levels that change a little from stretch to stretch."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(6), 40)
    level = 100 + 10 * y + rng.normal(0, 1, 30).repeat(8)
    images = level[:, np.newaxis, np.newaxis] + rng.normal(0, 20, (240, 40, 40))
    return np.clip(images, 0, 255).astype(np.uint8)[..., np.newaxis], y


@pytest.fixture(scope="module")
def predictor():
    images, y = textures(seed=0)
    classes = [f"level {number}" for number in range(6)]
    predictor = Predictor(by_brightness, classes, "by brightness", 40)
    embeddings = predictor.forward(images).embeddings
    thresholds = Thresholds(1.0, {"95": 0.0}, 0.0, np.inf)
    predictor.policy = ReviewPolicy(
        thresholds, novelty.fit_gaussians(embeddings, y), novelty.fit_gaussians(-embeddings, 0 * y)
    )
    return predictor


@pytest.fixture(scope="module")
def reference(predictor):
    images, y = textures(seed=0)
    embeddings = predictor.forward(images).embeddings
    return drift.fit_reference(
        np.array([image_statistics(image) for image in images]),
        embeddings,
        predictor.policy.novelty(novelty.held_out_distances(embeddings, y), embeddings),
        y,
        predictor.classes,
        seed=0,
    )


@pytest.fixture(scope="module")
def result_of(predictor, reference):
    """Return a function that tests a batch of images for drift."""

    def test(images):
        table = robustness.descriptor_table(predictor, reference, list(images[..., 0]))
        return drift.test_batch([table[:100], table[100:]], reference)

    return test


def test_a_loss_of_contrast_is_drift_and_new_images_are_not(result_of):
    unchanged = result_of(textures(seed=1)[0])
    flat = result_of(textures(seed=1)[0] // 2 + 60)
    assert unchanged.drifted is False
    assert drift.describe(unchanged).startswith("No drift")
    assert flat.drifted is True
    assert "have less contrast" in drift.describe(flat)


def test_the_mix_of_classes_is_no_drift(result_of):
    images, y = textures(seed=2)
    assert result_of(images[y == 3]).drifted is False


def test_few_images_are_not_tested(result_of):
    few = result_of(textures(seed=1)[0][: drift.MIN_IMAGES - 1])
    assert few.drifted is None
    assert "too few" in drift.describe(few)


def test_detection_rates(predictor, reference, monkeypatch):
    monkeypatch.setattr(robustness, "DRIFT_FAMILIES", ("defocus",))
    grays = list(textures(seed=3)[0][..., 0])
    table = robustness.drift_detection_rates(predictor, reference, grays, n_batches=5, seed=0)
    assert table["severity"].tolist() == [0, 1, 2, 3]
    assert table["detection_rate"].iloc[0] <= 0.2
    assert table["detection_rate"].iloc[-1] == 1
    assert table["statistic"].iloc[-1] > reference.limit > table["statistic"].iloc[0]


def test_a_reference_is_read_as_it_was_written(reference, tmp_path):
    assert drift.load_reference(tmp_path) is None
    reference.save(tmp_path)
    loaded = drift.load_reference(tmp_path)
    for name, value in vars(reference).items():
        assert np.array_equal(getattr(loaded, name), value)
    (tmp_path / runs.DRIFT).write_bytes(b"no arrays")
    with pytest.raises(UserError, match="run 02_training again"):
        drift.load_reference(tmp_path)


@pytest.mark.parametrize("count", [5, 7, 9])
def test_few_training_images_have_few_directions(count):
    rng = np.random.default_rng(0)
    images, embeddings = rng.normal(0, 1, (count, 3)), rng.normal(0, 1, (count, 20))
    y = np.arange(count) % 2
    described = images, embeddings, np.ones(count)
    reference = drift.fit_reference(*described, y, ["a", "b"], 0)
    directions = drift.project(embeddings, reference)
    assert directions.shape == (count, drift.N_DIRECTIONS)
    assert np.abs(directions).max() < 100
