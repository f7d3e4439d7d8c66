"""Calibration, candidates, novelty and verdicts, on numbers whose right answers are known."""

import shutil

import numpy as np
import pytest

from nbutils import calibration, conformal, limits, trust
from nbutils.paths import UserError
from nbutils.predict import load_predictor
from nbutils.trust import Gaussians, Limits, Trust

RNG = np.random.default_rng(0)


def drawn(count, temperature):
    """Probabilities of three classes that are right as often as they say, then made too sure."""
    logits = RNG.normal(0, 2, (count, 3))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    numbers = np.array([RNG.choice(3, p=row) for row in honest])
    return trust.soften(honest, 1 / temperature), honest, numbers


def test_softening_is_a_softmax_of_divided_logits():
    logits = np.array([[2.0, 0.0, -2.0]])
    chances = np.exp(logits) / np.exp(logits).sum()
    halved = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert trust.soften(chances, 2) == pytest.approx(halved)
    assert trust.soften(np.array([[1.0, 0.0]]), 3).sum() == pytest.approx(1)


def test_the_temperature_undoes_overconfidence():
    sure, _, numbers = drawn(4000, 2.5)
    found = calibration.fit_temperature(sure, numbers)
    assert found == pytest.approx(2.5, rel=0.1)
    before, after = (
        calibration.measures(chances, numbers)
        for chances in (sure, trust.soften(sure, found))
    )  # fmt: skip
    assert before["ece"] > 0.1 > 0.03 > after["ece"]
    assert before["accuracy"] == after["accuracy"]
    assert after["log_loss"] < before["log_loss"]


def test_calibration_error_and_brier_of_a_known_case():
    chances = np.array([[0.8, 0.2]] * 4)
    found = calibration.measures(chances, np.array([0, 0, 1, 1]))
    assert found["ece"] == pytest.approx(0.3)
    assert found["brier"] == pytest.approx((0.08 + 1.28) / 2)
    assert calibration.reliability(chances, np.array([0, 0, 1, 1]))["images"].tolist() == [4]


@pytest.mark.parametrize("level", conformal.LEVELS)
def test_sets_hold_the_class_as_often_as_promised(level):
    _, honest, numbers = drawn(8000, 1)
    floor = conformal.floors(honest[:4000], numbers[:4000])[str(level)]
    members = trust.sets(honest[4000:], floor)
    found = conformal.coverage(members, numbers[4000:], ["a", "b", "c"])
    assert found.loc["all", "coverage"] == pytest.approx(level / 100, abs=0.02)
    assert found["count"].tolist()[0] == sum(found["count"].tolist()[1:]) == 4000
    assert (members.sum(axis=1) >= 1).all()


def test_too_few_images_of_calibration_give_sets_of_all_classes():
    floors = conformal.floors(np.array([[0.9, 0.1]] * 5), np.zeros(5, int))
    assert floors["90"] == 0
    assert trust.sets(np.array([[0.99, 0.01]]), floors["90"]).all()


def test_the_cheapest_confidence_weighs_misses_against_reviews():
    chances = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    numbers = np.array([0, 0, 1, 0])
    assert limits.cheapest(chances, numbers, limits.Costs(20, 1, 0)) == 0.8
    assert limits.cheapest(chances, numbers, limits.Costs(0.5, 1, 0)) == 0.6
    table = limits.risk_coverage(chances, numbers)
    assert table["coverage"].tolist() == [0.25, 0.5, 0.75, 1]
    assert table["risk"].tolist() == pytest.approx([0, 0, 1 / 3, 1 / 4])


@pytest.mark.parametrize(
    ("values", "words"),
    [((0, 1, 0.1), "MISS_COST 0"), ((5, -1, 0.1), "REVIEW_COST -1"), ((5, 1, 1), "NOVEL_SHARE 1")],
)
def test_costs_that_cannot_be(values, words):
    with pytest.raises(UserError, match=words):
        limits.Costs(*values)


def test_distances_are_one_for_the_known_and_more_for_the_unknown():
    spread = np.diag([1.0, 5.0, 0.1, 1.0])
    known = np.concatenate([RNG.normal(size=(500, 4)) @ spread + at for at in (0, 20)])
    gaussians = limits.fit_gaussians(known, np.repeat([0, 1], 500))
    inside = gaussians.distances(RNG.normal(size=(500, 4)) @ spread)
    assert np.sqrt((inside**2).mean()) == pytest.approx(1, abs=0.1)
    between = gaussians.distances(np.full((1, 4), 10.0))
    assert between[0] > 5


@pytest.fixture
def judge():
    """Trust in two classes whose embeddings lie at 0 and 10."""
    gaussians = Gaussians(np.float32([[0], [10]]), np.float32([[[1]], [[1]]]))
    return Trust(Limits(1.0, {"90": 0.4, "95": 0.2, "99": 0.0}, 0.75, 2.0), gaussians)


def test_reasons_are_said_in_words(judge):
    raw = np.array([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.5, 0.5]])
    _, novelty, candidates, reasons = judge.judge(raw, np.float32([[0], [10], [5], [3]]))
    assert novelty.tolist() == [0, 0, 5, 3]
    assert candidates.tolist() == [[True, False], [True, True], [False, True], [True, True]]
    assert [len(each) for each in reasons] == [0, 1, 1, 2]
    assert reasons[1] == ("confidence 70.0% is below 75.0%",)
    assert reasons[2] == ("unlike the training images: novelty 5.00, limit 2.00",)


def test_limits_are_read_as_they_were_written(judge, tmp_path):
    assert trust.load(tmp_path) is None
    judge.save(tmp_path)
    found = trust.load(tmp_path)
    assert found.limits == judge.limits
    assert np.array_equal(found.gaussians.centers, judge.gaussians.centers)
    trust.forget(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "novelty.npz").unlink(),
        lambda folder: (folder / "novelty.npz").write_bytes(b"PK"),
        lambda folder: (folder / "limits.json").write_text("{}"),
    ],
)
def test_damaged_limits_name_the_cure(judge, tmp_path, spoil):
    judge.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match="run 02_training again"):
        trust.load(tmp_path)


def test_predictions_carry_verdicts_and_models_without_limits_are_not_believed(trained, tmp_path):
    squares = RNG.integers(0, 255, (3, 32, 32, 1), dtype=np.uint8)
    for found in load_predictor(trained).judge(squares):
        assert np.isfinite(found.novelty)
        assert found.label in found.candidates
        assert found.verdict == ("review" if found.reasons else "accept")
    bare = tmp_path / "bare"
    shutil.copytree(trained, bare)
    trust.forget(bare)
    [found] = load_predictor(bare).judge(squares[:1])
    assert found.verdict == "review"
    assert "run 02_training again" in found.reasons[0]
