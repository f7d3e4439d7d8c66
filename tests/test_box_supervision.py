"""Boxes as pixels, and training with them."""

import numpy as np
import pandas as pd
import pytest

from nbutils.data import datasets
from nbutils.models import box_supervision, training
from nbutils.runtime import keras


@pytest.fixture
def rows():
    """Two images of 40 x 20 pixels: one with a box of its class and another, one without boxes."""
    boxes = [["a", 10, 0, 20, 10], ["b", 0, 0, 40, 20]]
    return pd.DataFrame({"label": ["a", "a"], "width": 40, "height": 20, "boxes": [boxes, []]})


def test_masks_mark_the_boxes_of_the_class_alone(rows):
    masks = datasets.box_masks(rows, ["a", "a"], 8)
    assert masks[0].sum() == 4 * 2
    assert masks[0, :4, 2:4].all()
    assert not masks[1].any()


def test_the_target_of_an_image_without_a_box_is_the_whole_image(rows):
    targets = box_supervision.box_targets(rows, 8)
    assert targets.shape == (2, 8, 8, 1)
    assert targets[0].mean() == 255 / 8
    assert (targets[1] == 255).all()


def test_the_share_inside_a_mask():
    heatmaps = np.zeros((1, 4, 4, 1), np.float32)
    heatmaps[0, 0, 0], heatmaps[0, 3, 3] = 3, 1
    mask = np.zeros((1, 8, 8, 1), np.float32)
    mask[0, :2, :2] = 1
    assert np.array(box_supervision._share_inside(heatmaps, mask)) == pytest.approx(0.75, abs=1e-3)


def small_network():
    """One convolution, with the layers that `BoxSupervisedModel` looks for."""
    layers = keras.layers
    image = keras.Input((32, 32, 1))
    x = layers.Rescaling(1 / 255)(layers.Identity(name="augmentation")(image))
    x = layers.ReLU()(layers.Conv2D(16, 8, strides=8)(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(2, activation="softmax", name="probabilities")(x))


def striped_images():
    """Images of two classes, which vertical stripes on the left show, and horizontal ones right."""
    y = np.arange(32) % 2
    stripes = np.where((np.arange(32) + 2 * y[:, np.newaxis]) % 4 < 2, 200, 0).astype(np.uint8)
    images = np.repeat(stripes[:, np.newaxis, :, np.newaxis], 32, axis=1)
    images[:, :, 16:] = images.transpose(0, 2, 1, 3)[:, :, 16:]
    return images, y


def share_inside(images, y, targets, weight, folder):
    """Train, and return the share of the heatmaps inside the boxes."""
    training.set_seeds(0)
    settings = training.recipe("custom_cnn", epochs=10, batch_size=4, learning_rate=0.02, seed=0)
    trainer = box_supervision.BoxSupervisedModel(small_network(), weight)
    trainer.compile(
        optimizer=training.make_optimizer(settings, len(y)),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    history = training.fit(trainer, (images, y), (images, y), folder, settings, targets)
    assert history["accuracy"].iloc[-1] == 1
    _, heatmaps = trainer._forward(np.float32(images), y)
    return np.mean(box_supervision._share_inside(heatmaps, np.float32(targets / 255)))


def test_boxes_draw_the_heatmaps_into_them(tmp_path):
    images, y = striped_images()
    targets = np.zeros_like(images)
    targets[:, :, :16] = 255
    assert 0.2 < share_inside(images, y, targets, 0.0, tmp_path / "without") < 0.8
    assert share_inside(images, y, targets, 2.0, tmp_path / "with") > 0.9
