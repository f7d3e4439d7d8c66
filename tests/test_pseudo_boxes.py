"""Pseudo boxes of images whose class alone is known."""

import numpy as np
import pytest

from nbutils.data import pseudo_boxes
from nbutils.evaluation import detection
from nbutils.inference.defects import Defect

SIZE = 112
SQUARE = (30, 40, 70, 80)  # xmin, ymin, xmax, ymax


def textured(seed, square=SQUARE, contrast=60):
    """Smooth gray with one square of strong texture."""
    rng = np.random.default_rng(seed)
    image = rng.normal(128, 4, (SIZE, SIZE))
    left, top, right, bottom = square
    image[top:bottom, left:right] += rng.choice((-contrast, contrast), (bottom - top, right - left))
    return np.clip(image, 0, 255).astype(np.uint8)[..., np.newaxis]


def iou(box, other):
    return detection.iou(Defect("", 1.0, *box), ("", *other))


def test_a_region_of_contrast_has_a_box_of_the_images_class():
    images = np.stack([textured(seed) for seed in range(4)])
    for number, boxes in zip(
        [2, 0, 2, 0], pseudo_boxes.draw(images, np.array([2, 0, 2, 0])), strict=True
    ):
        assert boxes.dtype == np.float32 and boxes.shape == (1, 5)
        assert boxes[0, 0] == number
        assert iou(boxes[0, 1:], SQUARE) > 0.6


def test_images_of_a_normal_class_and_plain_ones_have_none():
    images = np.stack([textured(0), np.full_like(textured(0), 90)])
    normal, plain = pseudo_boxes.draw(images, np.array([1, 0]), normal=(1,))
    assert normal.shape == plain.shape == (0, 5)


def test_small_regions_beside_a_large_one_have_none():
    image = np.maximum(textured(0), textured(1, square=(90, 90, 96, 96)))
    [boxes] = pseudo_boxes.draw(image[np.newaxis], np.array([0]))
    assert len(boxes) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_features_point_to_what_is_rare_and_what_contrast_does_not_see(sign):
    other = (84, 8, 104, 28)
    images = np.stack([textured(seed, other) for seed in range(5)])
    left, top, right, bottom = SQUARE
    rare = np.zeros((SIZE, SIZE, 1))
    rare[top:bottom, left:right] = sign

    def features(batch):
        return np.stack([rare[2::4, 2::4]] * len(batch)) * [1, 3, -2] + 0.01 * batch[:, 2::4, 2::4]

    y = np.zeros(5, int)
    for boxes in pseudo_boxes.draw(images, y, features):
        assert max(iou(box[1:], SQUARE) for box in boxes) > 0.6
    for boxes in pseudo_boxes.draw(images, y):
        assert not any(iou(box[1:], SQUARE) > 0.1 for box in boxes)


@pytest.mark.parametrize("level", [0, 128])
def test_plain_images_have_none_whatever_their_features(level):
    def at_the_border(batch):
        features = np.zeros((len(batch), 28, 28, 2))
        features[:, 0] = 1
        return features

    images = np.full((3, SIZE, SIZE, 1), level, np.uint8)
    for features in (at_the_border, lambda batch: np.ones((len(batch), 28, 28, 2))):
        boxes = pseudo_boxes.draw(images, np.zeros(3, int), features)
        assert [len(each) for each in boxes] == [0, 0, 0]


def test_with_images_that_have_no_defect_boxes_are_where_others_differ_from_them():
    images = np.random.default_rng(0).integers(100, 110, (6, SIZE, SIZE, 1)).astype(np.uint8)
    left, top, right, bottom = SQUARE
    images[3:, top:bottom, left:right] += 40
    images[:, :40, ::4] = 250  # of high contrast, which the features do not see

    def features(batch):
        return batch[:, 2::4, 2::4].astype(np.float32) ** np.array([1.0, 0.5])

    boxes = pseudo_boxes.draw(images, np.array([1, 1, 1, 0, 0, 0]), features, normal=(1,))
    assert [len(each) for each in boxes[:3]] == [0, 0, 0]
    for each in boxes[3:]:
        assert iou(each[0, 1:], SQUARE) > 0.6
