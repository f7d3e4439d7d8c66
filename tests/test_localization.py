"""Scores of activation maps against boxes, where their right values are known."""

import numpy as np
import pandas as pd
import pytest

from nbutils.evaluation import localization


@pytest.fixture
def rows():
    """Two images of 40 x 20 pixels: one with a box of its class and another, one without boxes."""
    boxes = [["a", 10, 0, 20, 10], ["b", 0, 0, 40, 20]]
    return pd.DataFrame(
        {"path": ["x", "y"], "label": ["a", "a"], "predicted": ["a", "a"], "width": 40,
         "height": 20, "boxes": [boxes, []]}
    )  # fmt: skip


def test_scores_of_maps(rows):
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 1, 2] = 1
    maps[0, 7, 7] = 0.5
    scores = localization.score(rows, maps, 0.4)
    first = scores.iloc[0]
    assert (first["pointing"], first["coverage"]) == (1, 1 / 8)
    assert first["energy"] == pytest.approx(2 / 3)
    assert first["iou"] == pytest.approx(1 / 9)
    assert scores["failed"].tolist() == [False, True], "the second map is empty"
    assert scores.loc[1, ["pointing", "energy", "iou"]].isna().all()
    outside = np.roll(maps[:1], 4, axis=1) * (np.arange(8) > 5)
    assert localization.score(rows[:1], outside, 0.4)["failed"].all()


def test_the_best_threshold_is_where_regions_and_boxes_overlap_most(rows):
    maps = np.full((2, 8, 8), 0.2, np.float32)
    maps[0, :4, 2:4] = 0.6
    assert 0.2 < localization.best_threshold(rows, maps) <= 0.6
    assert localization.best_threshold(rows[1:], maps[1:]) == pytest.approx(0.5)


def test_baselines_score_as_chance_would(rows):
    scores = localization.score(pd.concat([rows[:1]] * 20), localization.noise(20, 8, 0), 0.5)
    summary = localization.summarize(scores, "label")
    for name in ("pointing", "energy"):
        low, value, high = summary.loc["a", [f"{name}_low", name, f"{name}_high"]]
        assert low < value < high
    assert summary.loc["a", "energy"] == pytest.approx(1 / 8, abs=0.05)
    assert np.unravel_index(localization.center(2, 9)[1].argmax(), (9, 9)) == (4, 4)
