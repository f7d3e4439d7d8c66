"""Activation maps: each method maps each image."""

import numpy as np
import pytest

from nbutils.inference import explain
from nbutils.models import networks, training
from nbutils.runs import UserError


@pytest.fixture(scope="module")
def model():
    """An untrained network."""
    training.set_seeds(0)
    return networks.custom_cnn(2, seed=0, size=32)


@pytest.mark.parametrize("method", explain.METHODS)
def test_every_method_maps_every_image(model, method):
    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 1), dtype=np.uint8)
    maps = explain.activation_maps(model, images, np.array([0, 1, 0]), method)
    assert maps.shape == (3, 32, 32)
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_an_unknown_method_names_the_known_ones(model):
    with pytest.raises(UserError, match="LayerCAM"):
        explain.activation_maps(model, np.zeros((1, 32, 32, 1), np.uint8), np.zeros(1, int), "CAM")
