import numpy as np
import pytest

from nbutils.artefacts import CELL_EXTRA
from nbutils.data import cells
from nbutils.models import batches, defect_head, networks, training
from nbutils.runtime import keras

SIZE, GRID = 32, 4
SETTINGS = training.recipe(networks.CUSTOM_CNN, seed=0, batch_size=16, epochs=2)


def bright_squares(count=32):
    """Draw squares on the left (class 0) or stripes on the right (class 1), with their boxes."""
    images = np.random.default_rng(0).integers(0, 60, (count, SIZE, SIZE, 1), dtype=np.uint8)
    y = np.arange(count) % 2
    images[y == 0, 8:16, 0:8] += 180
    images[y == 1, :, 24:32] += 180
    edges = ((0, 0, 8, 8, 16), (1, 24, 0, 32, 32))
    boxes = [np.array([edges[number]], np.float32) for number in y]
    return images, y, boxes


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return defect_head.add_head(networks.custom_cnn(2, seed=0, size=SIZE), 2)


def test_a_head_answers_for_each_cell(network):
    probabilities, values = network.predict(bright_squares(3)[0], verbose=0)
    assert probabilities.shape == (3, 2)
    assert values.shape == (3, GRID, GRID, 2 + CELL_EXTRA)
    assert defect_head.grid_of(network) == GRID
    classifier = defect_head.classifier(network)
    assert defect_head.grid_of(classifier) == 0
    assert networks.last_maps(classifier) == "relu5"  # and none of the head


def perfect(target, n_classes):
    """Return the output of a network that knows its targets."""
    logits = np.where(target[..., :n_classes] > 0, 20.0, -20.0)
    centers = np.arange(target.shape[1]) + 0.5
    left, top, right, bottom = np.moveaxis(target[..., 2 * n_classes + 1 :], -1, 0)
    x, y = centers[np.newaxis, np.newaxis], centers[np.newaxis, :, np.newaxis]
    distances = np.maximum([x - left, y - top, right - x, bottom - y], 0.02)
    quality = np.full((*logits.shape[:-1], 1), 20.0)
    return np.float32(np.concatenate([logits, quality, np.moveaxis(np.log(distances), 0, -1)], -1))


def test_the_loss_is_nothing_for_perfect_cells_and_grows_with_wrong_ones():
    images, y, boxes = bright_squares(4)
    samples = cells.Samples(images, y, boxes)
    _, target, shares = cells.augment(samples, np.arange(4), np.arange(4), 2, GRID, 0.0, 0.0)
    exact = perfect(target, 2)
    assert float(defect_head.cell_loss(exact, target, shares)) < 0.1
    flipped, moved = np.array([-1, -1, 1, 1, 1, 1, 1]), np.repeat([0, 1], [3, 4])
    for wrong in (exact * flipped, exact + moved, -exact):
        assert float(defect_head.cell_loss(np.float32(wrong), target, shares)) > 0.3


def test_without_boxes_the_surest_cells_speak_for_the_image():
    images, y, _ = bright_squares(2)
    samples = cells.Samples(images, y, [np.empty((0, 5), np.float32)] * 2)
    _, target, shares = cells.augment(samples, np.arange(2), np.arange(2), 2, GRID, 0.0, 0.0)
    logits = np.full((2, GRID, GRID, 2 + CELL_EXTRA), -9, np.float32)
    without = float(defect_head.cell_loss(logits, target, shares))
    logits[[0, 1], 1, 2, [0, 1]] = 9  # one cell of the right class
    assert float(defect_head.cell_loss(logits, target, shares)) < without - 5


def test_a_normal_class_has_no_defect_in_any_cell():
    images, y, _ = bright_squares(2)
    empty = [np.empty((0, 5), np.float32)] * 2
    samples = cells.Samples(images, y, empty, normal=(1,))
    _, target, _ = cells.augment(samples, np.arange(2), np.arange(2), 2, GRID, 0.0, 0.0)
    assert not target[..., :2].any()
    assert target[1, ..., 2:4].all()
    assert not target[0, ..., 2].any()  # where class 0 is, is not known


def test_the_head_learns_alone_where_the_defects_are(network):
    images, y, boxes = bright_squares()
    trainer = defect_head.DefectTrainer(network, 1.0)
    classifier = defect_head.classifier(network)
    before = [weight.numpy() for weight in classifier.weights]
    trains = [layer.trainable for layer in network.layers]
    samples = cells.Samples(images, y, boxes)
    drawn = batches.boxes_dataset(samples, 2, GRID, SETTINGS)
    _, target, shares = cells.augment(samples, np.arange(32), np.arange(32), 2, GRID, 0.0, 0.0)

    def loss():
        turned = cells.augment(samples, np.arange(32), np.arange(32), 2, GRID, 0.0, 0.0)[0]
        return float(defect_head.cell_loss(network.predict(turned, verbose=0)[1], target, shares))

    untrained = loss()
    defect_head.train(trainer, drawn, epochs=60)
    assert loss() < 0.75 * untrained
    assert [layer.trainable for layer in network.layers] == trains
    for weight, value in zip(classifier.weights, before, strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_class_and_cells_learn_together(tmp_path):
    images, y, boxes = bright_squares()
    keras.utils.set_random_seed(0)
    network = defect_head.add_head(networks.custom_cnn(2, seed=0, size=SIZE), 2)
    trainer = defect_head.DefectTrainer(network, 1.0)
    optimizer = training.make_optimizer(SETTINGS)
    trainer.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    target = np.stack([cells.encode(each, 2, SIZE, GRID) for each in boxes])

    def loss_of_cells():
        values = network.predict(images, verbose=0)[1]
        return float(defect_head.cell_loss(values, target, np.eye(2, dtype=np.float32)[y]))

    untrained = loss_of_cells()
    history = training.fit(trainer, (images, y), (images, y), tmp_path, SETTINGS, boxes)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert loss_of_cells() < untrained
    training.save_model(network, {"classes": ["square", "stripe"]}, tmp_path)
    reloaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    outputs = (each.predict(images, verbose=0) for each in (reloaded, network))
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_map_after_the_class_is_the_same_if_it_was_interrupted(tmp_path, monkeypatch):
    images, y, boxes = bright_squares()
    after = SETTINGS | {"map_weight": 0.0, "head_epochs": 2}

    def fitted(folder, seed):
        keras.utils.set_random_seed(seed)
        network = defect_head.add_head(networks.custom_cnn(2, seed=seed, size=SIZE), 2)
        trainer = defect_head.DefectTrainer(network, after["map_weight"])
        optimizer = training.make_optimizer(after)
        trainer.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
        training.fit(trainer, (images, y), (images, y), folder, after, boxes)
        return network.predict(images, verbose=0)

    whole = fitted(tmp_path / "whole", 0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(defect_head, "train", interrupted)
        fitted(tmp_path / "resumed", 0)
    for one, other in zip(fitted(tmp_path / "resumed", 1), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_the_map_alone_sees_milder_corruption_and_no_mosaics(network, tmp_path, monkeypatch):
    images, y, boxes = bright_squares(16)
    settings = SETTINGS | {"corruption": 1.0, "mosaics": 0.3, "epochs": 1, "head_epochs": 1}
    trainer, original, seen = defect_head.DefectTrainer(network, 1.0), cells.augment, []
    optimizer = training.make_optimizer(settings)
    trainer.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])

    def augment(samples, chosen, seeds, n_classes, grid, *rates):
        seen.append(rates)
        return original(samples, chosen, seeds, n_classes, grid, *rates)

    monkeypatch.setattr(cells, "augment", augment)
    training.fit(trainer, (images, y), (images, y), tmp_path, settings, boxes)
    assert seen == [(1.0, 0.3, settings["outliers"]), (0.5, 0.0, settings["outliers"])]


def interrupted(*arguments):
    raise KeyboardInterrupt
