"""Calibration, prediction sets, novelty and review, on numbers whose right results are known."""

from dataclasses import replace
from fractions import Fraction

import folders
import numpy as np
import pytest

from nbutils import disk, runs
from nbutils.data.images import BLANK_RANGE
from nbutils.disk import UserError
from nbutils.uncertainty import calibration, conformal, novelty, review
from nbutils.uncertainty.novelty import ClassGaussians
from nbutils.uncertainty.review import ReviewCosts, ReviewPolicy, Thresholds

RNG = np.random.default_rng(0)


def drawn(count, temperature):
    """Probabilities of three classes that are right as often as they say, then made too sure."""
    logits = RNG.normal(0, 2, (count, 3))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([RNG.choice(3, p=row) for row in honest])
    return calibration.temperature_scale(honest, 1 / temperature), honest, y


def test_temperature_scaling_is_a_softmax_of_divided_logits():
    logits = np.array([[2.0, 0.0, -2.0]])
    probabilities = np.exp(logits) / np.exp(logits).sum()
    halved = np.exp(logits / 2) / np.exp(logits / 2).sum()
    assert calibration.temperature_scale(probabilities, 2) == pytest.approx(halved)
    assert calibration.temperature_scale(np.array([[1.0, 0.0]]), 3).sum() == pytest.approx(1)


def test_the_temperature_undoes_overconfidence():
    sure, _, y = drawn(4000, 2.5)
    temperature = calibration.fit_temperature(sure, y)
    assert temperature == pytest.approx(2.5, rel=0.1)
    before = calibration.calibration_metrics(sure, y)
    after = calibration.calibration_metrics(calibration.temperature_scale(sure, temperature), y)
    assert before["ece"] > 0.1 > 0.03 > after["ece"]
    assert before["accuracy"] == after["accuracy"]
    assert after["log_loss"] < before["log_loss"]


def test_distances_to_the_classes_are_weighed_with_the_network():
    doubtful, distances = np.array([[0.6, 0.4, 0.0]]), np.array([[2.0, 1.0, 1.0]])
    weighed = calibration.weigh_by_distance(doubtful, distances, 1.0)
    expected = np.array([0.6 / 2, 0.4, 0.0])
    assert weighed[0] == pytest.approx(expected / expected.sum(), abs=1e-9)
    assert calibration.weigh_by_distance(doubtful, distances, 0.0) == pytest.approx(doubtful)


def test_the_weight_of_distances_is_theirs_to_earn():
    _, honest, y = drawn(600, 1.0)
    telling = 1.0 + (np.arange(3) != y[:, np.newaxis]) + RNG.normal(0, 0.5, honest.shape)
    weight = calibration.fit_distance_weight(honest, telling, y)
    weighed = calibration.weigh_by_distance(honest, telling, weight)
    assert weight > 1
    assert calibration.log_loss(weighed, y) < 0.7 * calibration.log_loss(honest, y)
    noise = RNG.normal(1, 0.5, honest.shape)
    assert calibration.fit_distance_weight(honest, noise, y) < 0.5


@pytest.mark.parametrize("images", [20, 500])
def test_images_without_an_error_make_a_model_no_surer_than_they_can_tell(images):
    y = RNG.integers(3, size=images)
    unsure = np.full((images, 3), 0.05)
    unsure[np.arange(images), y] = 0.9
    temperature = calibration.fit_temperature(unsure, y)
    confidence = calibration.temperature_scale(unsure, temperature).max(axis=1).mean()
    assert confidence == pytest.approx((images + 1) / (images + 2), abs=1e-4)
    sure = calibration.temperature_scale(unsure, 0.2)
    assert calibration.fit_temperature(sure, y) == pytest.approx(1, abs=1e-3), "left as it is"


def test_a_few_errors_tell_enough_of_the_temperature():
    """Five of 500: the least log loss decides."""
    y = np.zeros(500, int)
    probabilities = np.tile([0.97, 0.02, 0.01], (500, 1))
    probabilities[:5] = [0.2, 0.6, 0.2]
    temperatures = np.geomspace(0.2, 5, 1000)
    scaled = [calibration.temperature_scale(probabilities, each) for each in temperatures]
    least = temperatures[np.argmin([calibration.log_loss(each, y) for each in scaled])]
    assert least < 0.9
    assert calibration.fit_temperature(probabilities, y) == pytest.approx(least, rel=0.01)


def test_calibration_error_and_brier_of_a_known_case():
    probabilities, y = np.array([[0.8, 0.2]] * 4), np.array([0, 0, 1, 1])
    metrics = calibration.calibration_metrics(probabilities, y)
    assert metrics["ece"] == pytest.approx(0.3)
    assert metrics["brier"] == pytest.approx((0.08 + 1.28) / 2)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.8, 0.2]).mean())
    assert calibration.reliability(probabilities, y)["images"].tolist() == [4]


@pytest.mark.parametrize("n", [9, 19, 29, 59, 99, 999])
@pytest.mark.parametrize("coverage", conformal.COVERAGES)
def test_the_rank_of_a_threshold_is_exact(n, coverage):
    """Where (n + 1) (1 - coverage) is whole, rounding must not lose a rank."""
    true = np.arange(1, n + 1) / (n + 1)
    probabilities = np.column_stack([true, 1 - true])[RNG.permutation(n)]
    threshold = conformal.conformal_thresholds(probabilities, np.zeros(n, int))[str(coverage)]
    rank = Fraction(100 - coverage, 100) * (n + 1) // 1
    assert threshold == (true[rank - 1] if rank else 0)


@pytest.mark.parametrize("coverage", conformal.COVERAGES)
def test_sets_hold_the_class_as_often_as_promised(coverage):
    _, honest, y = drawn(8000, 1)
    threshold = conformal.conformal_thresholds(honest[:4000], y[:4000])[str(coverage)]
    sets = conformal.prediction_sets(honest[4000:], threshold)
    table = conformal.empirical_coverage(sets, y[4000:], ["a", "b", "c"])
    assert table.loc["all", "coverage"] == pytest.approx(coverage / 100, abs=0.02)
    assert table["count"].tolist()[0] == sum(table["count"].tolist()[1:]) == 4000
    assert (sets.sum(axis=1) >= 1).all()


def test_too_few_images_of_calibration_give_sets_of_all_classes():
    thresholds = conformal.conformal_thresholds(np.array([[0.9, 0.1]] * 5), np.zeros(5, int))
    assert thresholds["90"] == 0
    assert conformal.prediction_sets(np.array([[0.99, 0.01]]), thresholds["90"]).all()


@pytest.mark.parametrize(
    ("false_accept", "expected", "threshold"),
    [(20, [1, 0.75, 0.5, 5.25, 5], 0.8), (0.5, [1, 0.75, 0.5, 0.375, 0.125], 0.6)],
)
def test_the_optimal_threshold_costs_least(false_accept, expected, threshold):
    probabilities = np.array([[0.6, 0.4], [0.7, 0.3], [0.8, 0.2], [0.9, 0.1]])
    curve = review.expected_cost(
        probabilities, np.array([0, 1, 0, 0]), ReviewCosts(false_accept, 1, 0)
    )
    assert curve["confidence"].tolist() == [review.ACCEPT_NONE, 0.9, 0.8, 0.7, 0.6]
    assert curve["errors"].tolist() == [0, 0, 0, 1, 1]
    assert curve["coverage"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert curve["risk"].tolist() == pytest.approx([0, 0, 0, 1 / 3, 1 / 4])
    assert curve["cost"].tolist() == pytest.approx(expected)
    assert review.optimal_threshold(curve) == threshold


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0, 1, 0.1), "FALSE_ACCEPT_COST 0"),
        ((5, -1, 0.1), "REVIEW_COST -1"),
        ((5, 1, 1), "FALSE_ALARM_RATE 1"),
    ],
)
def test_costs_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        ReviewCosts(*values)


def test_distances_are_one_for_known_and_more_for_novel_embeddings():
    spread = np.diag([1.0, 5.0, 0.1, 1.0])
    known = np.concatenate([RNG.normal(size=(500, 4)) @ spread + at for at in (0, 20)])
    gaussians = novelty.fit_gaussians(known, np.repeat([0, 1], 500))
    inside = gaussians.distances(RNG.normal(size=(500, 4)) @ spread)
    assert np.sqrt((inside**2).mean()) == pytest.approx(1, abs=0.1)
    assert gaussians.distances(np.full((1, 4), 10.0))[0] > 5


def test_of_images_as_far_from_a_class_those_near_to_outliers_are_more_novel(policy):
    towards, away = policy.assess(np.full((2, 2), 0.5), np.float32([[-3], [3]])).novelty
    assert towards == pytest.approx(9 / 2) and away == pytest.approx(9 / 8)
    outlier = policy.assess(np.full((1, 2), 0.5), np.float32([[-5]])).novelty
    assert np.isfinite(outlier).all() and outlier > 1e6


def test_held_out_distances_are_not_those_to_an_image_itself():
    embeddings, y = RNG.normal(size=(60, 8)), np.repeat([0, 1], 30)
    fitted = novelty.fit_gaussians(embeddings, y).distances(embeddings)
    assert novelty.held_out_distances(embeddings, y).min(axis=1).mean() > fitted.mean()


def test_near_duplicates_are_held_out_together():
    rng, y = np.random.default_rng(3), np.repeat([0, 1], 30)
    scenes = rng.normal(size=(20, 8))
    groups = np.tile(np.arange(10), 6) + 10 * y  # a scene comes again after ten images
    embeddings = scenes[groups] + rng.normal(0, 0.05, (60, 8))
    apart = novelty.held_out_distances(embeddings, y).min(axis=1)
    together = novelty.held_out_distances(embeddings, y, groups).min(axis=1)
    assert np.median(together) > 1.5 * np.median(apart)


def test_a_class_of_one_scene_is_held_out_image_by_image():
    embeddings, y = RNG.normal(size=(40, 4)), np.repeat([0, 1], 20)
    groups = np.where(y, 99, np.arange(40))
    distances = novelty.held_out_distances(embeddings, y, groups)
    assert np.array_equal(distances, novelty.held_out_distances(embeddings, y))


@pytest.fixture
def policy():
    """A policy for two classes whose embeddings lie at 0 and 10, and outliers at -5."""
    gaussians = ClassGaussians(np.float32([[0], [10]]), np.float32([[[1]], [[1]]]))
    outliers = ClassGaussians(np.float32([[-5]]), np.float32([[[1]]]))
    thresholds = Thresholds(1.0, {"90": 0.4, "95": 0.2, "99": 0.0}, 0.75, 1.0)
    return ReviewPolicy(thresholds, gaussians, outliers)


def test_an_answer_is_sure_where_network_and_distance_agree(policy):
    weighing = replace(policy, thresholds=replace(policy.thresholds, distance_weight=2))
    near_first, near_second = np.float32([[0], [10]])
    surer = weighing.assess(np.array([[0.8, 0.2]]), near_first[np.newaxis]).probabilities
    torn = weighing.assess(np.array([[0.8, 0.2]]), near_second[np.newaxis]).probabilities
    assert surer[0, 0] > 0.9
    assert torn[0, 0] < 0.5


def test_reasons_are_given_in_words(policy):
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.5, 0.5]])
    assessed = policy.assess(probabilities, np.float32([[0], [10], [5], [3]]))
    assert assessed.novelty.tolist() == [0, 0, 2.5, 1.125]
    expected = [[True, False], [True, True], [False, True], [True, True]]
    assert assessed.prediction_sets.tolist() == expected
    assert [len(each) for each in assessed.reasons] == [0, 1, 1, 2]
    assert assessed.reasons[1] == ("confidence 70.0% is below 75.0%",)
    assert assessed.reasons[2] == ("unlike the training images: novelty 2.50, limit 1.00",)


def test_where_the_surest_answers_are_wrong_none_is_accepted(policy):
    probabilities = np.array([[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [1.0, 0.0]])
    curve = review.expected_cost(probabilities, np.array([0, 0, 1, 1]), ReviewCosts(5, 1, 0))
    threshold = review.optimal_threshold(curve)
    assert threshold == review.ACCEPT_NONE
    strict = replace(policy, thresholds=replace(policy.thresholds, confidence=threshold))
    reasons = strict.assess(probabilities, np.zeros((4, 1), np.float32)).reasons
    assert set(reasons) == {("at its costs, no answer of this model is worth accepting",)}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["probabilities", "embeddings"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_what_is_not_a_number_is_reviewed(policy, part, value):
    output = {"probabilities": np.array([[0.9, 0.1]] * 2), "embeddings": np.zeros((2, 1))}
    output[part][0] = value
    assessed = policy.assess(**output)
    assert assessed.reasons == [("the network's output is not a number",), ()]


def test_a_policy_is_read_as_it_was_written(policy, tmp_path):
    assert review.load_policy(tmp_path) is None
    policy.save(tmp_path)
    loaded = review.load_policy(tmp_path)
    assert loaded.thresholds == policy.thresholds
    assert np.array_equal(loaded.gaussians.centers, policy.gaussians.centers)
    assert np.array_equal(loaded.outliers.centers, policy.outliers.centers)


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / runs.NOVELTY).unlink(),
        lambda folder: (folder / runs.NOVELTY).write_bytes(b"PK"),
        lambda folder: (folder / runs.REVIEW).write_text("{}"),
    ],
)
def test_a_damaged_policy_names_the_cure(policy, tmp_path, damage):
    policy.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(UserError, match="run 02_training"):
        review.load_policy(tmp_path)


def test_copies_of_an_image_are_held_out_with_it():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 40)
    clean = rng.normal(size=(80, 4)) + 5 * y[:, np.newaxis]
    corrupted = clean + rng.normal(3, 1, size=(80, 4))  # all shifted the same way
    alone = novelty.held_out_distances(clean, y).min(axis=1)
    together = novelty.held_out_distances(np.concatenate([clean, corrupted]), y).min(axis=1)
    assert together.shape == (160,)
    shifted = novelty.fit_gaussians(clean, y).distances(corrupted)
    assert np.median(shifted) > 2 * np.median(alone)
    assert np.median(together[80:]) < 1.5 * np.median(together[:80])


def test_of_a_picture_to_review_it_is_said_what_is_degraded(policy):
    ranges = {"brightness": [100, 140], "contrast": [20, 40], "sharpness": [0.5, 3.0]}
    ranged = replace(policy, thresholds=replace(policy.thresholds, quality=ranges))
    usual = np.random.default_rng(0).normal(120, 30, (64, 64, 1)).clip(0, 255).astype(np.uint8)
    blurred = np.linspace(70, 170, 64).astype(np.uint8).repeat(64).reshape(64, 64, 1)
    light = np.full((64, 64, 1), 250, np.uint8)
    light[::2, :, 0] = 238
    images = [usual, blurred, light, blurred]
    probabilities = np.array([[0.7, 0.3]] * 3 + [[0.9, 0.1]])
    degraded = ranged.assess(probabilities, np.zeros((4, 1), np.float32), images).degraded
    assert [len(each) for each in degraded] == [0, 1, 2, 0], "nothing is said of what is accepted"
    assert "out of focus" in degraded[1][0]
    assert "sharpness 0.0" in degraded[1][0]


def test_a_blank_picture_is_reviewed_however_sure_the_network(policy):
    image = np.full((64, 64, 1), 128, np.uint8)
    image[0] += BLANK_RANGE - 1
    blank = policy.assess(np.array([[0.9, 0.1]]), np.zeros((1, 1), np.float32), [image])
    assert blank.reasons == [("the picture is blank: its gray values span 9",)]
    assert blank.risk == 1
    image[0] += 1
    assert policy.assess(np.array([[0.9, 0.1]]), np.zeros((1, 1)), [image]).reasons == [()]


def test_quality_is_read_as_it_was_written(trained, tmp_path):
    model = folders.copy_model(trained, tmp_path / "model")
    settings = runs.read_json(model / runs.REVIEW)
    ranges = {"brightness": [10.0, 200.0], "contrast": [3.0, 90.0], "sharpness": [0.01, 0.5]}
    runs.write_json(settings | {"quality": ranges}, model / runs.REVIEW)
    assert review.load_policy(model).thresholds.quality == ranges
    for damage in (7, {"colour": [0, 1]}, {"contrast": 3}, {"contrast": [1, None]}):
        runs.write_json(settings | {"quality": damage}, model / runs.REVIEW)
        with pytest.raises(disk.UserError, match=runs.REVIEW):
            review.load_policy(model)
