from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from nbutils.data import cells
from nbutils.data.outliers import draw_outlier
from nbutils.inference import windows
from nbutils.inference.defects import CellDecoder, Defect, overlaps, suppress
from nbutils.inference.prediction import NO_POLICY
from nbutils.inference.predictor import Predictor
from nbutils.inference.strips import without_duplicates
from nbutils.uncertainty.review import Assessment

CLASSES = ("scratch", "pit")


def cells_of(boxes, grid=8):
    """Cells of a network that knows boxes exactly: (class number, edges in cells) each."""
    values = np.full((grid, grid, len(CLASSES) + 5), -9.0, np.float32)
    values[..., 2] = 9  # the quality of a box
    for number, left, top, right, bottom in boxes:
        for row in range(top, bottom):
            for column in range(left, right):
                values[row, column, number] = 9
                x, y = column + 0.5, row + 0.5
                distances = np.maximum([x - left, y - top, right - x, bottom - y], 0.02)
                values[row, column, 3:] = np.log(distances)
    return values.ravel()


def test_boxes_are_read_from_cells():
    decoder = CellDecoder(CLASSES, 8)
    first, second = decoder.defects(cells_of([(0, 1, 1, 4, 3), (1, 5, 4, 8, 8)]))
    by_label = {first.label: first, second.label: second}
    edges = by_label["scratch"]
    assert (edges.xmin, edges.ymin) == pytest.approx((1 / 8, 1 / 8), abs=1e-5)
    assert (edges.xmax, edges.ymax) == pytest.approx((4 / 8, 3 / 8), abs=1e-5)
    assert by_label["pit"].confidence > 0.99
    assert decoder.values == len(cells_of([]))
    assert decoder.defects(cells_of([])) == []


def test_normal_classes_are_no_defect():
    values = cells_of([(0, 1, 1, 4, 3), (1, 5, 4, 8, 8)])
    [defect] = CellDecoder(CLASSES, 8, normal=("pit",)).defects(values)
    assert defect.label == "scratch"


def test_a_map_that_was_trained_without_boxes_has_none():
    values = cells_of([(0, 1, 1, 4, 3)])
    assert CellDecoder(CLASSES, 8, boxed=False).defects(values) == []
    assert CellDecoder(CLASSES, 8, boxed=False).split(values)[0].max() > 0.99


def test_a_box_loses_confidence_by_its_overlap_with_a_surer_one_of_its_class():
    sure, third, inside, beyond = (0, 0, 10, 10), (5, 0, 15, 10), (2, 2, 5, 5), (10, 10, 20, 20)
    boxes = np.array([beyond, third, sure, inside, sure], float)
    labels, scores = np.array([0, 0, 0, 0, 1]), np.array([0.8, 0.85, 0.9, 0.8, 0.7])
    kept, lowered = suppress(labels, scores, boxes, 0.1)
    expected = {2: 0.9, 0: 0.8, 4: 0.7, 1: 0.85 * np.exp(-2 / 9), 3: 0.8 * np.exp(-1 / 2)}
    assert kept.tolist() == [2, 0, 4, 1, 3]
    assert lowered == pytest.approx([expected[place] for place in kept])
    assert suppress(labels, scores, boxes, 0.65)[0].tolist() == [2, 0, 4, 1]
    assert not len(suppress(labels[:0], scores[:0], np.empty((0, 4)), 0.6)[0])


def test_a_box_on_the_threshold_is_kept():
    for kind in (np.float32, np.float64):
        assert len(suppress(np.zeros(1), np.array([0.7], kind), np.ones((1, 4)), 0.7)[0]) == 1


def test_boxes_without_area_lower_no_other():
    boxes = np.array([(5, 0, 5, 10), (5, 0, 5, 10), (0, 0, 10, 10)], float)
    kept, scores = suppress(np.zeros(3), np.array([0.9, 0.8, 0.7]), boxes, 0.5)
    assert kept.tolist() == [0, 1, 2]
    assert scores.tolist() == [0.9, 0.8, 0.7]


def test_confidence_is_that_in_the_class_and_in_the_box():
    values = cells_of([(0, 1, 1, 4, 3)]).reshape(8, 8, -1)
    is_scratch = values[..., 0] > 0
    values[is_scratch, 0], values[is_scratch, 2] = np.log(0.9 / 0.1), np.log(0.4 / 0.6)
    [defect] = CellDecoder(CLASSES, 8).defects(values.ravel())
    assert defect.confidence == pytest.approx(0.9**0.7 * 0.4**0.3)


@pytest.mark.parametrize("output", [0, 2, 3])
def test_a_cell_that_is_no_number_hides_no_other(output):
    values = cells_of([(0, 1, 1, 4, 3), (1, 5, 4, 8, 8)]).reshape(8, 8, -1)
    values[0, 0], values[0, 0, output] = 9, np.nan
    labels = {each.label for each in CellDecoder(CLASSES, 8).defects(values.ravel())}
    assert labels == {"scratch", "pit"}


@pytest.mark.parametrize("shape", [(60, 900), (900, 60), (40, 40)])
def test_of_two_windows_that_show_a_defect_the_surer_counts(shape):
    rng = np.random.default_rng(0)
    start = rng.uniform(0, shape, (300, 2))
    boxes = np.hstack([start, start + rng.uniform(1, 40, (300, 2))])
    found = [Defect(CLASSES[at % 2], float(rng.random()), *box) for at, box in enumerate(boxes)]
    windows_of = rng.integers(4, size=300).tolist()
    kept: list[int] = []
    for at in sorted(range(300), key=lambda at: -found[at].confidence):
        others = [
            other
            for other in kept
            if found[other].label == found[at].label and windows_of[other] != windows_of[at]
        ]
        if not any(overlaps(boxes[other], boxes[[at]])[0] > 0.4 for other in others):
            kept.append(at)
    assert without_duplicates(found, windows_of) == [found[at] for at in kept]
    assert len(kept) < len(found)
    assert sorted(without_duplicates(found, [0] * 300), key=id) == sorted(found, key=id)


@pytest.mark.parametrize(("length", "window"), [(700, 200), (200, 200), (5, 200), (333, 97)])
def test_each_cell_of_an_image_is_owned_by_one_window(length, window):
    axis = windows.Axis(length, window, 25)
    owned = [
        number * axis.step + cell
        for number in range(axis.count)
        for cell in range(*axis.own(number))
    ]
    assert owned == list(range(len(owned)))
    assert len(owned) >= axis.cells
    assert axis.start(axis.count - 1) + window >= length
    assert axis.count == 1 or axis.start(axis.count - 1) < length


def test_windows_beyond_an_image_show_its_mirror_image():
    gray = np.arange(30, dtype=np.uint8).reshape(3, 10)
    tiles = windows.make_windows(gray.shape, (6, 6), 6)
    views = list(tiles.cut(gray))
    assert len(views) == tiles.count
    assert all(view.shape == (6, 6) for view in views)
    assert (views[0][:3] == gray[:, :6]).all()
    assert (views[0][3:] == gray[::-1, :6]).all()


def test_turned_images_keep_their_boxes():
    image = np.zeros((20, 20), np.uint8)
    image[2:6, 8:18] = 255
    box = np.array([[1, 8, 2, 18, 6]], np.float32)
    for quarters in range(4):
        for mirror in (False, True):
            turned, [(number, left, top, right, bottom)] = cells.turn(image, box, quarters, mirror)
            inside = turned[int(top) : int(bottom), int(left) : int(right)]
            assert number == 1
            assert inside.size == 40
            assert (inside == 255).all()


def test_cells_at_the_rim_count_for_neither():
    target = cells.encode(np.array([[1, 24, 24, 56, 56]], np.float32), 2, 80, 10)
    marked, weight, box = target[..., :2], target[..., 2:4], target[..., 4:]
    assert marked[3:7, 3:7, 1].all()
    assert marked.sum() == 16
    assert weight[2:8, 2:8, 1].sum() == 16  # the cells around have none
    assert weight[..., 0].all()
    assert box[4, 4].tolist() == [1, 3, 3, 7, 7]
    assert not box[0, 0].any()


def test_a_box_smaller_than_a_cell_has_one():
    target = cells.encode(np.array([[0, 11, 11, 13, 12]], np.float32), 1, 80, 10)
    assert np.argwhere(target[..., 0]).tolist() == [[1, 1]]


def test_pieces_of_four_images_share_the_classes_by_area():
    rng = np.random.default_rng(0)
    image, box = np.full((40, 40), 7, np.uint8), np.array([[0, 0, 0, 40, 40]], np.float32)
    parts = [(image + number, box, number) for number in range(4)]
    mosaic, boxes, shares = cells.compose(parts, 4, rng)
    assert shares.sum() == pytest.approx(1)
    for number in range(4):
        assert (mosaic == 7 + number).mean() == pytest.approx(shares[number])
    areas = (boxes[:, 3] - boxes[:, 1]) * (boxes[:, 4] - boxes[:, 2])
    assert areas.sum() == pytest.approx(40 * 40)


def predictor_of(network, **facts):
    """A predictor of two classes whose input is 16 pixels, and whose grid has 4 cells."""
    decoder = CellDecoder(CLASSES, 4)
    return Predictor(network, CLASSES, "drawn", 16, decoder=decoder, **facts)


def bright_cells(batches):
    """Call each bright cell of an image a pit, as a network would that knows its boxes."""
    for batch in batches:
        for image in batch:
            bright = image[..., 0].reshape(4, 4, 4, 4).mean(axis=(1, 3)) > 128
            values = np.full((4, 4, len(CLASSES) + 5), -9.0, np.float32)
            values[..., 1][bright] = 9
            values[..., 2] = 9
            values[..., 3:] = np.log(0.5)
            pit = np.float32(0.9 if bright.any() else 0.1)
            yield np.concatenate([[1 - pit, pit], np.zeros(3), values.ravel()])[np.newaxis]


def of_map(logit):
    """A network whose map has the same value everywhere, and whose boxes are not to be trusted."""

    def network(batches):
        for batch in batches:
            values = np.full((4, 4, len(CLASSES) + 5), -9.0, np.float32)
            values[..., 1] = logit
            row = np.concatenate([[0.9, 0.1], np.zeros(3), values.ravel()])
            yield np.tile(row, (len(batch), 1)).astype(np.float32)

    return network


blind, half_sure = of_map(-9), of_map(1)


def in_batches(batches):
    for batch in batches:
        yield np.concatenate(list(bright_cells([batch]))).astype(np.float32)


def test_a_strip_is_predicted_at_its_own_scale():
    gray = np.zeros((32, 200), np.uint8)
    gray[8:12, 120:124] = 255  # one cell, where windows overlap or not
    gray[20:24, 40:44] = 255
    predictor = predictor_of(in_batches, image_size=(16, 16))
    prediction = predictor.predict_image(gray)
    assert prediction.label == "pit"
    assert prediction.defect_map.shape == (8, 50, 2)
    found = {(each.xmin, each.ymin, each.xmax, each.ymax) for each in prediction.defects}
    assert found == {(120, 8, 124, 12), (40, 20, 44, 24)}
    row = prediction.defect_map[2, 30]
    assert row[1] > 0.9


def test_a_strip_without_a_defect_has_none():
    predictor = predictor_of(in_batches, image_size=(16, 16))
    prediction = predictor.predict_image(np.zeros((16, 400), np.uint8))
    assert prediction.label == "no_defect"
    assert prediction.confidence > 0.99
    assert prediction.defects == ()
    predictor, gray = strip_of(policy=Doubting())
    assert predictor.predict_image(gray).prediction_set == (), "of classes, it has none"


def test_the_scale_of_another_camera_sets_the_windows():
    gray = np.zeros((64, 64), np.uint8)
    gray[16:24, 32:40] = 255
    predictor = predictor_of(in_batches, image_size=(16, 16), scale=0.5)
    [defect] = predictor.predict_image(gray).defects
    assert (defect.xmin, defect.ymin, defect.xmax, defect.ymax) == (32, 16, 40, 24)


def test_images_of_all_sizes_keep_their_order():
    sizes = [(16, 16), (16, 90), (20, 14), (90, 16), (3, 16)]
    predictor = predictor_of(in_batches, image_size=(16, 16))
    grays = [np.full(size, 255 * (index % 2), np.uint8) for index, size in enumerate(sizes)]
    labels = [each.label for each in predictor.predict_images(grays)]
    assert labels == ["scratch", "pit", "scratch", "pit", "scratch"]


class Doubting:
    """A policy that is sure of the images with a share of pits below `sure_below`."""

    def __init__(self, sure_below=0.0):
        self.sure_below = sure_below

    def assess(self, probabilities, embeddings, images):
        sure = probabilities[:, 1] < self.sure_below
        reasons = [() if each else ("confidence 90.0% is below 95.0%",) for each in sure]
        zeros = np.zeros(len(sure))
        sets = np.ones((len(sure), 2), bool)
        light = ("the picture is too light: brightness 250",)
        degraded = [light if image.mean() > 249 else () for image in images]
        return Assessment(probabilities, zeros, sets, zeros > 0, 1.0 - sure, reasons, degraded)


def test_an_image_that_is_called_good_with_a_defect_on_its_map_is_reviewed():
    def pits_are_good(batches):
        for rows in in_batches(batches):
            yield np.concatenate([[[0.9, 0.1]] * len(rows), rows[:, 2:]], axis=1)

    policy = Doubting(sure_below=0.5)
    decoder = CellDecoder(CLASSES, 4, normal=("scratch",))
    predictor = replace(predictor_of(pits_are_good, policy=policy), decoder=decoder)
    good = np.full((16, 16), 30, np.uint8)
    with_pit = good.copy()
    with_pit[4:8, 8:12] = 255
    [clean, pitted] = predictor.predict_images([good, with_pit])
    assert (clean.label, clean.decision) == ("scratch", "accept")
    assert (pitted.label, pitted.decision) == ("scratch", "review")
    assert pitted.reasons == ("called scratch, though its map shows pit",)
    assert pitted.risk > 0.9 > clean.risk
    [light] = predictor.predict_images([np.full((16, 16), 255, np.uint8)])
    assert light.reasons[0].startswith("called scratch")
    assert light.reasons[-1].startswith("the picture is too light")


def strip_of(value=0, policy=None, network=in_batches, length=160):
    gray = np.full((16, length), value, np.uint8)
    gray[::2] += 5 if value > 200 else 15  # not blank
    return predictor_of(network, image_size=(16, 16), policy=policy), gray


def test_a_strip_is_reviewed_by_what_its_windows_say():
    predictor, gray = strip_of(policy=Doubting())
    assert predictor.predict_image(gray).decision == "accept", "no window has a defect"
    gray[4:8, 100:104] = 255
    prediction = predictor.predict_image(gray)
    assert prediction.decision == "review"
    assert "windows: confidence 90.0%" in prediction.reasons[0]
    assert prediction.risk == 1


def test_a_strip_of_degraded_windows_is_reviewed_though_it_shows_no_defect():
    predictor, gray = strip_of(250, Doubting(), blind)
    prediction = predictor.predict_image(gray)
    assert prediction.top(2) == [("no_defect", prediction.confidence)]
    assert prediction.reasons == (
        "13 of 13 windows without a defect: the picture is too light: brightness 250",
    )


def test_a_sure_class_without_a_place_is_no_empty_image():
    predictor, gray = strip_of(policy=Doubting(sure_below=0.5))
    prediction = predictor.predict_image(gray)
    assert prediction.label == "scratch"
    assert prediction.reasons == (
        "13 of 13 windows: scratch 90.0%, but the map does not show where",
    )


def test_a_strip_of_sure_windows_is_accepted_by_a_model_without_a_map():
    def classes_alone(batches):
        for rows in in_batches(batches):
            yield rows[:, : len(CLASSES) + 3]

    predictor, gray = strip_of(policy=Doubting(sure_below=0.5), network=classes_alone)
    prediction = replace(predictor, decoder=None).predict_image(gray)
    assert (prediction.label, prediction.reasons) == ("scratch", ())


def test_a_map_that_is_bright_without_a_box_is_reviewed():
    predictor, gray = strip_of(policy=Doubting(), network=half_sure)
    prediction = predictor.predict_image(gray)
    assert prediction.label == "no_defect"
    assert prediction.reasons == ("no defect is whole, but the map reaches 73.1%",)
    assert prediction.risk == 1, "that of its riskiest window"
    assert prediction.confidence == pytest.approx(0.269, abs=1e-3)
    assert replace(prediction, defect_map=None).confidence == prediction.confidence


def test_without_a_policy_a_strip_is_reviewed():
    predictor, gray = strip_of()
    assert predictor.predict_image(gray).reasons == NO_POLICY


def test_outliers_are_of_no_class_and_differ():
    rng = np.random.default_rng(0)
    drawn = [draw_outlier(32, rng) for _ in range(12)]
    assert all(image.shape == (32, 32) and image.dtype == np.uint8 for image in drawn)
    assert len({image.tobytes() for image in drawn}) == 12
    images = np.full((4, 32, 32, 1), 99, np.uint8)
    whole = [np.array([[0, 0, 0, 32, 32]], np.float32)] * 4
    samples = cells.Samples(images, np.zeros(4, int), whole)
    batch = cells.augment(samples, np.arange(4), np.arange(4), 2, 4, 0.0, 0.0, outliers=1.0)
    replaced, target, shares = batch
    assert not (replaced == 99).all(axis=(1, 2, 3)).any()
    assert shares == pytest.approx(0.5)
    assert not target[..., :2].any()
    assert target[..., 2:4].all()
    kept = cells.augment(samples, np.arange(4), np.arange(4), 2, 4, 0.0, 0.0, outliers=0.0)
    assert (kept[0] == 99).all()
    assert kept[2][:, 0] == pytest.approx(1)


def test_boxes_are_scaled_to_the_input_and_named_again():
    boxes = [[("pit", 10, 20, 30, 40), ("dust", 0, 0, 5, 5)], []]
    rows = pd.DataFrame({"boxes": boxes, "width": 100, "height": 200})
    scaled = cells.read_boxes(rows, list(CLASSES), 50)
    assert [each.shape for each in scaled] == [(1, 5), (0, 5)]  # dust is no class
    assert cells.with_names(scaled, list(CLASSES)) == [[("pit", 5, 5, 15, 10)], []]
