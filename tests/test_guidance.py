"""Boxes as pixels, training by them, and scores of maps against them."""

import numpy as np
import pandas as pd
import pytest

from nbutils import boxes, explain, feature_maps, guidance, localization, models, training
from nbutils.backend import keras
from nbutils.paths import UserError


@pytest.fixture
def rows():
    """Two images of 40 x 20 pixels: one with a box of its class, one without boxes."""
    of_first = [["a", 10, 0, 20, 10], ["b", 0, 0, 40, 20]]
    return pd.DataFrame(
        {"path": ["x", "y"], "label": ["a", "a"], "predicted": ["a", "a"], "width": 40,
         "height": 20, "boxes": [of_first, []]}
    )  # fmt: skip


def test_masks_mark_the_boxes_of_the_class_alone(rows):
    found = boxes.masks(rows, ["a", "a"], 8)
    assert found[0].sum() == 4 * 2
    assert found[0, :4, 2:4].all()
    assert not found[1].any()
    drawn = guidance.masks(rows, 8)
    assert drawn.shape == (2, 8, 8, 1)
    assert (drawn[1] == 255).all(), "an image without a box may be looked at everywhere"


def test_scores_of_maps_whose_place_is_known(rows):
    heat = np.zeros((2, 8, 8), np.float32)
    heat[0, 1, 2] = 1
    heat[0, 7, 7] = 0.5
    found = localization.score(rows, heat, 0.4)
    first = found.iloc[0]
    assert (first["pointing"], first["coverage"]) == (1, 1 / 8)
    assert first["energy"] == pytest.approx(2 / 3)
    assert first["iou"] == pytest.approx(1 / 9)
    assert found["failed"].tolist() == [False, True], "the second map is empty"
    assert found.loc[1, ["pointing", "energy", "iou"]].isna().all()
    outside = np.roll(heat[:1], 4, axis=1) * (np.arange(8) > 5)
    assert localization.score(rows[:1], outside, 0.4)["failed"].all()


def test_the_best_threshold_is_where_marks_and_boxes_overlap_most(rows):
    heat = np.full((2, 8, 8), 0.2, np.float32)
    heat[0, :4, 2:4] = 0.6
    assert 0.2 < localization.best_threshold(rows, heat) <= 0.6
    assert localization.best_threshold(rows[1:], heat[1:]) == pytest.approx(0.5)


def test_summary_has_intervals(rows):
    many = pd.concat([rows[:1]] * 20)
    scores = localization.score(many, localization.noise(20, 8, 0), 0.5)
    found = localization.summary(scores, "label")
    for measure in ("pointing", "energy"):
        low, value, high = found.loc["a", [f"{measure}_low", measure, f"{measure}_high"]]
        assert low < value < high
    assert found.loc["a", "energy"] == pytest.approx(1 / 8, abs=0.05)


@pytest.fixture(scope="module")
def model():
    training.set_seeds(0)
    return models.custom_cnn(2, seed=0, size=32)


@pytest.mark.parametrize("method", explain.METHODS)
def test_every_method_maps_every_image(model, method):
    squares = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 1), dtype=np.uint8)
    maps = explain.activation_maps(model, squares, np.array([0, 1, 0]), method)
    assert maps.shape == (3, 32, 32)
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_an_unknown_method_names_the_known(model):
    with pytest.raises(UserError, match="LayerCAM"):
        explain.activation_maps(model, np.zeros((1, 32, 32, 1), np.uint8), np.zeros(1, int), "CAM")


def test_the_maps_that_are_looked_at():
    backbone = models.pretrained("mobilenet_v2", 6, seed=0, size=224, alpha=0.35, weights=None)
    assert feature_maps.last(backbone) == "out_relu"
    assert feature_maps.finer(backbone) == "block_13_expand_relu"
    assert feature_maps.middle(backbone) == "block_10_expand_relu"
    no_maps = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    with pytest.raises(UserError, match="no convolution"):
        feature_maps.last(no_maps)


def test_boxes_draw_the_map_into_them(tmp_path):
    """Two bright squares in each image, one of them boxed: the map has to learn which."""
    rng = np.random.default_rng(0)
    squares = rng.integers(0, 60, (48, 32, 32, 1), dtype=np.uint8)
    numbers = np.arange(48) % 2
    masks = np.zeros_like(squares)
    for at, number in enumerate(numbers):
        squares[at, 4:12, 4:12] = squares[at, 20:28, 20:28] = 120 + 100 * number
        masks[at, :16, :16] = 255
    shares = {}
    for weight in (0.0, 2.0):
        training.set_seeds(0)
        model = models.custom_cnn(2, seed=0, size=32)
        model.get_layer("augmentation").call = lambda images, training=False: images
        settings = training.recipe("custom_cnn", epochs=6, boxes=weight, seed=0, batch_size=16)
        guided = masks if weight else None
        training.fit(
            model, (squares, numbers), (squares, numbers), tmp_path / str(weight), settings, guided
        )
        maps = explain.activation_maps(model, squares, numbers, "Grad-CAM")
        shares[weight] = maps[:, :16, :16].sum() / maps.sum()
    assert shares[2.0] > shares[0.0]
