"""Found boxes against true ones: every figure here is computed by hand."""

import numpy as np
import pandas as pd
import pytest

from nbutils.evaluation import detection
from nbutils.inference.defects import Defect

BOX = ("a", 0, 0, 10, 10)


def found(label: str, confidence: float, *edges: float) -> Defect:
    return Defect(label, confidence, *edges)


def test_overlap_is_the_common_area_over_the_joint_one():
    assert detection.iou(found("a", 1, 0, 0, 10, 10), BOX) == 1
    assert detection.iou(found("a", 1, 5, 0, 15, 10), BOX) == pytest.approx(50 / 150)
    assert detection.iou(found("a", 1, 20, 20, 30, 30), BOX) == 0
    assert detection.iou(found("a", 1, 3, 3, 3, 3), ("a", 3, 3, 3, 3)) == 0


def test_a_true_box_is_found_once_by_the_surest_of_its_class():
    defects = [
        found("a", 0.6, 0, 0, 10, 10),
        found("a", 0.9, 0, 0, 10, 9),
        found("b", 0.8, 0, 0, 10, 10),
        found("a", 0.7, 6, 0, 16, 10),
    ]
    table = detection.match([defects, []], [[BOX], [BOX]])
    assert table["confidence"].tolist() == [0.9, 0.8, 0.7, 0.6]
    assert table["hit"].tolist() == [True, False, False, False]
    assert table["image"].tolist() == [0] * 4


def test_average_precision_is_the_area_under_the_highest_precision():
    matches = pd.DataFrame({"label": "a", "hit": [True, False, True, False]})
    boxes = [[BOX], [BOX, BOX], [("b", 0, 0, 1, 1)]]
    precision = detection.average_precision(matches, boxes)
    assert precision["a"] == pytest.approx(1 / 3 + 2 / 3 / 3)  # two of three, at 1 and at 2/3
    assert precision["b"] == 0


def test_the_threshold_is_that_with_the_best_agreement():
    matches = pd.DataFrame(
        {"confidence": [0.9, 0.7, 0.52, 0.3, 0.2], "hit": [True, True, True, False, False]}
    )
    threshold = detection.best_threshold(matches, [[BOX]] * 3)
    assert 0.3 < threshold <= 0.52


def test_cells_in_boxes_are_told_from_the_background():
    rows = pd.DataFrame({"boxes": [[("a", 0, 0, 50, 100)]], "width": [100], "height": [100]})
    inside = np.zeros((1, 4, 4, 2))
    inside[:, :, :2, 0] = 0.9
    assert detection.cell_auroc(inside, rows, ["a", "b"]) == 1
    assert detection.cell_auroc(inside[:, :, ::-1], rows, ["a", "b"]) == 0
    assert detection.cell_auroc(np.zeros_like(inside), rows, ["a", "b"]) == 0.5
    inside[:, :, 2, 0] = 0.95  # just outside
    assert detection.cell_auroc(inside, rows, ["a", "b"]) == 0.5
    assert detection.cell_auroc(inside, rows, ["a", "b"], with_rim=False) == 1
