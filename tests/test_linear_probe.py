"""The linear probe: its formula, unequal classes, few images, views, and the layer it becomes."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss

from nbutils.models import linear_probe, networks
from nbutils.models.layers import Moments
from nbutils.models.linear_probe import LinearProbe
from nbutils.runtime import keras, tf


def draw(counts, channels, distance, seed=0):
    """Rows of Gaussian classes whose means lie apart, and their class numbers."""
    rng = np.random.default_rng(seed)
    y = np.repeat(range(len(counts)), counts)
    means = distance * np.eye(len(counts), channels)
    return rng.normal(size=(len(y), channels)) + means[y], y


@pytest.mark.parametrize("n_classes", [2, 3])
def test_with_many_rows_it_is_plain_discriminant_analysis(n_classes):
    x, y = draw([2000] * n_classes, 4, 2.0)
    x = x @ np.diag([1, 100, 0.01, 1]) + 5
    expected = LinearDiscriminantAnalysis().fit(x, y).predict_proba(x)
    assert LinearProbe().fit(x, y).predict_proba(x) == pytest.approx(expected, abs=0.01)


def test_a_rare_class_is_not_given_up_for_a_common_one():
    x, y = draw([300, 5], 2, 2.0)
    test_x, test_y = draw([2000, 2000], 2, 2.0, seed=1)
    correct = LinearProbe().fit(x, y).predict_proba(test_x).argmax(axis=1) == test_y
    assert correct[test_y == 1].mean() > 0.7
    assert correct[test_y == 0].mean() > 0.7


def test_fewer_rows_than_channels_and_channels_without_variance():
    mix = np.random.default_rng(2).normal(size=(3, 200))
    mix[:, -1] = 0
    (x, y), (test_x, test_y) = draw([5] * 3, 3, 6.0), draw([50] * 3, 3, 6.0, seed=1)
    x, test_x = x @ mix, test_x @ mix
    probabilities = LinearProbe().fit(x, y).predict_proba(test_x)
    assert np.isfinite(probabilities).all()
    assert (probabilities.argmax(axis=1) == test_y).mean() > 0.9


def test_probabilities_are_averaged_over_views():
    x, y = draw([20, 20], 5, 2.0)
    views = np.stack([x, x + 0.5, x - 0.5], axis=1)
    probe = linear_probe.fit(views, y)
    single = [linear_probe.predict_proba(probe, views[:, at : at + 1]) for at in range(3)]
    assert linear_probe.predict_proba(probe, views) == pytest.approx(np.mean(single, axis=0))


def test_calibration_softens_what_is_too_sure_and_sharpens_nothing():
    x, y = draw([15, 15, 15], 60, 2.0)
    test_x, test_y = draw([100, 100, 100], 60, 2.0, seed=1)
    probe = linear_probe.fit(x[:, np.newaxis].repeat(8, axis=1), y)
    before = probe.predict_proba(test_x)
    temperature = linear_probe.calibrate(probe, test_x[:, np.newaxis], test_y)
    after = probe.predict_proba(test_x)
    assert temperature > 1
    assert log_loss(test_y, after) < log_loss(test_y, before)
    assert np.array_equal(after.argmax(axis=1), before.argmax(axis=1))
    assert linear_probe.calibrate(probe, 0.1 * x[:, np.newaxis], y) == pytest.approx(1, abs=0.01)


def test_images_without_an_error_make_a_probe_no_surer_than_their_number_can_tell():
    x, y = draw([10, 10], 5, 50.0)
    probe = linear_probe.fit(x[:, np.newaxis].repeat(8, axis=1), y)
    assert probe.predict_proba(x).max(axis=1).mean() > 0.999
    linear_probe.calibrate(probe, x[:, np.newaxis], y)
    assert probe.predict_proba(x).max(axis=1).mean() == pytest.approx(21 / 22, abs=0.01)


def test_a_probe_fitted_to_corrupted_copies_looks_at_what_corruption_leaves_alone():
    rng, y = np.random.default_rng(0), np.arange(80) % 2
    views = rng.normal(0, 0.3, (80, 8, 6))
    views[..., 0] += 4 * y[:, np.newaxis]  # tells the classes best, and moves with the camera
    views[..., 1] += 2 * y[:, np.newaxis]
    corrupted = views.copy()
    corrupted[..., 0] += rng.normal(0, 8, (80, 1))
    apart, together = linear_probe.fit(views, y), linear_probe.fit(views, y, corrupted)
    accuracy = [
        (linear_probe.predict_proba(probe, corrupted).argmax(axis=1) == y).mean()
        for probe in (apart, together)
    ]
    assert accuracy[1] > accuracy[0] + 0.2
    assert (linear_probe.predict_proba(together, views).argmax(axis=1) == y).mean() > 0.98


def test_a_network_with_a_probe_gives_in_training_what_it_gives_in_prediction():
    model = networks.pretrained("mobilenet_v2", 3, seed=0, size=64, alpha=0.35, weights=None)
    features = networks.feature_extractor(model).output.shape[-1]
    rows = np.random.default_rng(0).normal(size=(12, 1, features))
    linear_probe.set_head(model, linear_probe.fit(rows, np.arange(12) % 3))
    head = keras.Model(model.get_layer("features").output, model.output)
    assert np.array_equal(head(rows[:, 0], training=True), head(rows[:, 0], training=False))


def test_a_saved_network_carries_the_probe_and_its_features(tmp_path):
    model = networks.pretrained("mobilenet_v2", 3, seed=0, size=64, alpha=0.35, weights=None)
    images = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 1), dtype=np.uint8)
    features = networks.feature_extractor(model).predict_on_batch(images)
    probe = linear_probe.fit(features[:, np.newaxis], np.arange(12) % 3)
    linear_probe.set_head(model, probe)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    expected = softmax(features @ probe.kernel_ + probe.bias_, axis=1)
    assert loaded.predict_on_batch(images) == pytest.approx(expected, abs=1e-3)


def test_moments_of_maps_and_their_slope_where_nothing_varies():
    maps = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    expected = np.concatenate([maps.mean(axis=(1, 2)), maps.std(axis=(1, 2))], axis=1)
    assert np.array(Moments()(maps)) == pytest.approx(expected, abs=1e-5)
    constant = tf.Variable(np.ones((1, 4, 4, 2), np.float32))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(Moments()(constant))
    assert np.isfinite(tape.gradient(total, constant)).all()


def test_repeating_the_images_of_a_class_changes_nothing():
    """They weigh no more: the covariance that the classes share is that of each in equal parts."""
    rng = np.random.default_rng(0)
    x, y = draw([3000, 3000], 3, 2.0)
    x[y == 0] *= [3.0, 1.0, 1.0]
    more = np.concatenate([np.flatnonzero(y == 0).repeat(9), np.flatnonzero(y == 1)])
    test_x = rng.normal(size=(50, 3))
    expected = LinearProbe().fit(x, y).predict_proba(test_x)
    assert LinearProbe().fit(x[more], y[more]).predict_proba(test_x) == pytest.approx(
        expected, abs=0.01
    )
