"""The ranking of labels that are probably wrong, where the wrong ones are known."""

import numpy as np
import pytest

from nbutils.models import label_errors


@pytest.fixture
def flipped():
    """Features of three classes, their labels with 6 of 120 wrong, and which those are."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 40)
    features = rng.normal(size=(120, 20)) + 2 * np.eye(3).repeat(7, axis=1)[y][:, :20]
    wrong = rng.choice(120, 6, replace=False)
    labels = y.copy()
    labels[wrong] = (y[wrong] + 1) % 3
    return features, y, labels, wrong


def test_wrong_labels_come_first_and_the_right_one_is_suggested(flipped):
    features, y, labels, wrong = flipped
    probabilities = label_errors.out_of_fold(features, labels)
    assert np.allclose(probabilities.sum(axis=1), 1)
    ranking = label_errors.rank(probabilities, labels)
    assert set(wrong) <= set(ranking.index[:9])
    assert (ranking.loc[wrong, "suggested"] == y[wrong]).all()
    assert ranking["is_issue"].sum() <= 9
    assert ranking["score"].is_monotonic_increasing


def test_classes_of_five_images_and_repeatable(flipped):
    features, y, _, _ = flipped
    few = np.r_[:40, 40:45, 80:120]
    first = label_errors.out_of_fold(features[few], y[few])
    assert first.shape == (85, 3)
    assert np.array_equal(first, label_errors.out_of_fold(features[few], y[few]))
