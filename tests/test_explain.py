"""Activation maps: each method finds what a class depends on."""

import numpy as np
import pytest

from nbutils.disk import UserError
from nbutils.inference import explain
from nbutils.runtime import keras


@pytest.fixture(scope="module")
def brightness():
    """A network whose second class is evident where the image is bright."""
    image = keras.Input((32, 32, 1))
    maps = keras.layers.Conv2D(16, 3, padding="same", name="conv")(image)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(name="relu")(maps))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    kernel = np.full((3, 3, 1, 16), 1 / 9 / 255, np.float32)
    model.layers[1].set_weights([kernel, np.linspace(-0.3, -0.2, 16)])
    model.layers[-1].set_weights([np.float32([[-1, 1]] * 16), np.zeros(2)])
    return model


@pytest.mark.parametrize("method", explain.METHODS)
def test_every_method_finds_what_the_class_depends_on(brightness, method):
    images = np.full((2, 32, 32, 1), 40, np.uint8)
    images[0, 4:10, 4:10], images[1, 20:26, 12:18] = 250, 250
    maps = explain.activation_maps(brightness, images, np.array([1, 1]), method)
    assert maps.shape == (2, 32, 32)
    assert maps.max(axis=(1, 2)) == pytest.approx(1, abs=1e-3)
    inside = [maps[0, 4:10, 4:10], maps[1, 20:26, 12:18]]
    assert [part.max() for part in inside] == pytest.approx(maps.max(axis=(1, 2)))
    if method != "Score-CAM":  # it perturbs, and has no gradients
        against = explain.activation_maps(brightness, images, np.array([0, 0]), method)
        assert not against.any(), "brightness speaks against the first class"


def test_an_unknown_method_names_the_known(brightness):
    with pytest.raises(UserError, match="'CAM' is unknown: choose one of Grad-CAM"):
        explain.activation_maps(brightness, np.zeros((1, 32, 32, 1)), np.zeros(1, int), "CAM")


def test_random_weights_are_other_weights_of_the_same_network(brightness):
    random = explain.with_random_weights(brightness, seed=0)
    assert random.count_params() == brightness.count_params()
    kernel = random.get_layer("conv").get_weights()[0]
    assert not np.allclose(kernel, brightness.get_layer("conv").get_weights()[0])
