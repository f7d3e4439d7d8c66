"""Networks and their layers, training, and how it resumes after an interruption."""

import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.data.images import symmetries
from nbutils.disk import UserError
from nbutils.models import batches, layers, lbp_svm, networks, training
from nbutils.runtime import keras

SETTINGS = {
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.01,
    "weight_decay": 1e-4,
    "patience": 9,
    "seed": 0,
    "head": False,
    "corruption": 0.0,
    "map_weight": 0.0,
}


@pytest.fixture(scope="module")
def arrays():
    """Images of two classes, a bright stripe and a bright square, and their class numbers."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (48, 16, 16, 1), dtype=np.uint8)
    y = np.arange(48) % 2
    images[y == 0, 4:8] += 150
    images[y == 1, 4:8, 4:8] += 150
    return images, y


def small_network():
    """A linear classifier, which is built and compiled at once."""
    image = keras.Input((16, 16, 1))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))


def fit(arrays, folder, model=None, train=None, **changes):
    training.set_seeds(0)
    settings = SETTINGS | changes
    model = model or small_network()
    model.compile(
        optimizer=training.make_optimizer(settings),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model, training.fit(model, train or arrays, arrays, folder, settings)


def test_random_symmetry_draws_all_eight_in_training_and_none_at_inference():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    layer = layers.RandomSymmetry(seed=0)
    batch = np.repeat(image, 200, axis=0)
    assert np.array_equal(layer(batch), batch)
    drawn = {tuple(np.ravel(turned)) for turned in np.array(layer(batch, training=True))}
    assert drawn == {tuple(np.ravel(view)) for view in symmetries(image)}


def test_custom_cnn_ignores_brightness_and_contrast():
    model = networks.custom_cnn(classes=3, seed=0, size=32)
    image = np.random.default_rng(0).integers(0, 100, (1, 32, 32, 1)).astype(np.float32)
    dark, bright = model.predict_on_batch(np.concatenate([image, image * 2 + 30]))
    assert dark == pytest.approx(bright, abs=1e-3)


def test_the_layers_of_activation_maps():
    backbone = networks.pretrained("mobilenet_v2", 6, seed=0, size=224, alpha=0.35, weights=None)
    assert networks.last_maps(backbone) == "out_relu"
    assert networks.finer_maps(backbone) == "block_13_expand_relu"
    assert networks.middle_maps(backbone) == "block_10_expand_relu"
    assert networks.feature_extractor(backbone).output_shape == (None, 1280 + 2 * (192 + 96))
    finer = [layer.name for layer in networks.pyramid(backbone)]
    assert finer == ["out_relu", "block_13_expand_relu", "block_6_expand_relu"]
    no_maps = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
    with pytest.raises(UserError, match="no convolution"):
        networks.last_maps(no_maps)


def test_training_learns_and_keeps_the_best_epoch(arrays, tmp_path):
    model, history = fit(arrays, tmp_path, epochs=12)
    best = history["val_loss"][history["epoch"] > 9].min()
    loss, accuracy = model.evaluate(*arrays, verbose=0, batch_size=8)
    assert loss == pytest.approx(best, abs=1e-3)
    assert accuracy > 0.9
    assert history["learning_rate"].iloc[-1] < history["learning_rate"].max() / 10
    assert any((tmp_path / "tensorboard").rglob("events*"))


def interrupt_after(epochs, arrays, folder, monkeypatch):
    """Stop a training as a power cut does, between an epoch's history and its backup."""
    write = training.runs.write_csv

    def interrupt(table, path):
        write(table, path)
        if len(table) == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.runs, "write_csv", interrupt)
        fit(arrays, folder)


def test_training_resumes_after_an_interruption(arrays, tmp_path, monkeypatch, capsys):
    _, whole = fit(arrays, tmp_path / "whole")
    interrupt_after(3, arrays, tmp_path / "interrupted", monkeypatch)
    state = tmp_path / "interrupted" / "training"
    assert len(pd.read_csv(state / "history.csv")) == 3
    capsys.readouterr()
    _, resumed = fit(arrays, tmp_path / "interrupted")
    assert "resumed after epoch 2" in capsys.readouterr().out
    columns = whole.columns.drop("seconds")
    pd.testing.assert_frame_equal(resumed[columns], whole[columns], check_exact=True)


@pytest.mark.parametrize(
    ("losses", "first", "best"),
    [
        ([5, 1, 4, 3, 2, 3], 1, 5),  # epochs 1 to 4 of 6 are early
        ([5, 1, 4], 1, 2),  # so far
        ([2.5, 1, 1], 0, 1),  # a stop before the last fifth: all count
        ([2.5, 1, 1, 1, 1, 3, 4], 0, 0),  # the trained start was best
        ([2.5, 1, 1, 1, 1, 3, 2], 0, 6),
    ],
)
def test_the_last_fifth_and_a_trained_start_compete(losses, first, best):
    epochs = range(first, first + len(losses))
    history = pd.DataFrame({"epoch": epochs, "val_loss": losses})
    history = history.assign(val_accuracy=0.9, val_clean_accuracy=0.9)
    assert training.best_epoch(history, 6) == best


@pytest.mark.parametrize(
    ("clean", "both", "best"),
    [
        ([0.9, 0.8], [0.6, 0.8], 0),  # corrupted images gained, clean ones lost
        ([0.9, 0.95], [0.6, 0.6], 0),  # the reverse
        ([0.9, 0.9], [0.6, 0.8], 1),
    ],
)
def test_what_is_less_accurate_than_a_trained_start_is_not_kept(clean, both, best):
    history = pd.DataFrame({"epoch": [0, 1], "val_loss": [2.0, 1.0]})
    history = history.assign(val_accuracy=both, val_clean_accuracy=clean)
    assert training.best_epoch(history, 1) == best


def test_frozen_batch_norm_keeps_its_statistics_in_training():
    image = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization()(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))
    networks.freeze_batch_norm(model)
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    before = model.layers[1].get_weights()
    model.train_on_batch(np.full((8, 4, 4, 1), 100.0), np.arange(8) % 2)
    for weights, original in zip(model.layers[1].get_weights(), before, strict=True):
        assert np.array_equal(weights, original)


def test_a_trained_start_is_epoch_0_and_is_kept_where_training_makes_it_worse(arrays, tmp_path):
    trained, _ = fit(arrays, tmp_path / "first", epochs=3)
    before = trained.get_weights()
    wrong = arrays[0], 1 - arrays[1]
    _, history = fit(arrays, tmp_path / "second", trained, wrong, head=True, epochs=2)
    assert history["epoch"].tolist() == [0, 1, 2]
    assert training.best_epoch(history, 2) == 0
    for weights, original in zip(trained.get_weights(), before, strict=True):
        assert np.array_equal(weights, original)


def test_no_epochs_leave_a_trained_start_as_it_is(arrays, tmp_path):
    model = small_network()
    before = model.get_weights()
    _, history = fit(arrays, tmp_path, model, head=True, epochs=0)
    assert history["epoch"].tolist() == [0]
    for weights, original in zip(model.get_weights(), before, strict=True):
        assert np.array_equal(weights, original)


def test_a_recipe_has_the_settings_of_the_network_and_those_chosen():
    own = training.recipe("custom_cnn", epochs=None, learning_rate=None)
    assert own == training.COMMON_SETTINGS | training.RECIPES["custom_cnn"]
    assert training.recipe("mobilenet_v2", epochs=0, head=True)["epochs"] == 0


@pytest.mark.parametrize(
    ("name", "chosen", "epochs"),
    [
        ("mobilenet_v2", {}, 24),
        ("mobilenet_v2", {"n_boxed": 10_000}, 40),
        ("mobilenet_v2", {"n_boxed": 640}, 75),
        ("mobilenet_v2", {"n_boxed": 640, "batch_size": 64}, 100),
        ("mobilenet_v2", {"n_boxed": 5}, 100),
        ("mobilenet_v2", {"n_boxed": 5, "head_epochs": 3}, 3),
        ("custom_cnn", {"n_boxed": 640}, 0),
    ],
)
def test_a_map_after_the_class_takes_longer_with_boxes(name, chosen, epochs):
    assert training.recipe(name, **chosen)["head_epochs"] == epochs


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", "ten"),
        ("batch_size", 0),
        ("patience", 0),
        ("tta_views", 9),
        ("tta_views", 4.0),
        ("patience", True),
        ("learning_rate", float("inf")),
        ("learning_rate", 100),
        ("learning_rate", -1),
        ("corruption", 2),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(name, value):
    with pytest.raises(UserError, match=f"{name.upper()} {value!r}"):
        training.recipe("custom_cnn", **{name: value})


def test_training_is_not_resumed_with_other_images(arrays, tmp_path, monkeypatch, capsys):
    interrupt_after(2, arrays, tmp_path, monkeypatch)
    others = arrays[0][::-1].copy(), arrays[1][::-1].copy()
    capsys.readouterr()
    _, history = fit(others, tmp_path)
    assert "resumed" not in capsys.readouterr().out
    assert len(history) == 4


def test_training_corrupts_anew_each_epoch_and_validates_on_both(arrays, tmp_path):
    epochs = []
    settings = SETTINGS | {"corruption": 1.0}
    rows = batches.training_dataset(arrays, settings)
    for _ in range(2):
        epochs.append({image.tobytes() for images, _ in rows for image in images.numpy()})
    assert epochs[0] != epochs[1]
    firsts = [next(iter(batches.training_dataset(arrays, settings)))[0] for _ in range(2)]
    assert np.array_equal(*firsts)
    validation = batches.validation_dataset(arrays, settings)
    validation = np.concatenate([images for images, _ in validation])
    assert len(validation) == 2 * len(arrays[0])
    assert np.array_equal(validation[: len(arrays[0])], arrays[0])
    assert not np.array_equal(validation[len(arrays[0]) :], arrays[0])
    _, history = fit(arrays, tmp_path, corruption=0.5, epochs=1)
    assert len(history) == 1


def test_training_is_not_resumed_with_other_settings(arrays, tmp_path, monkeypatch, capsys):
    interrupt_after(3, arrays, tmp_path, monkeypatch)
    capsys.readouterr()
    _, history = fit(arrays, tmp_path, epochs=2)
    assert "resumed" not in capsys.readouterr().out
    assert len(history) == 2


def test_early_stop(arrays, tmp_path, capsys):
    _, history = fit(arrays, tmp_path, epochs=30, patience=1, learning_rate=50.0)
    assert len(history) < 30
    assert "stopped" in capsys.readouterr().out


def test_saved_model_has_no_optimizer_and_predicts_the_same(arrays, tmp_path):
    model, _ = fit(arrays, tmp_path, epochs=1)
    (tmp_path / runs.REVIEW).write_text("{}")
    training.save_model(model, {"classes": ["a", "b"]}, tmp_path)
    loaded = keras.saving.load_model(tmp_path / runs.KERAS_MODEL)
    assert not loaded.compiled
    probabilities = model.predict_on_batch(arrays[0])
    assert loaded.predict_on_batch(arrays[0]) == pytest.approx(probabilities, abs=1e-6)
    assert not (tmp_path / "training").exists()
    assert not (tmp_path / runs.REVIEW).exists(), "it described other weights"


def test_flat_field_removes_uneven_illumination_from_the_third_channel_alone():
    texture = np.random.default_rng(0).normal(120, 20, (2, 200, 200, 1)).astype(np.float32)
    ramp = np.linspace(-60, 60, 200, dtype=np.float32).reshape(1, 1, 200, 1)
    unchanged, standardized, flat = np.moveaxis(layers.FlatField()(texture).numpy(), -1, 0)
    relit = np.moveaxis(layers.FlatField()(texture + ramp).numpy(), -1, 0)
    assert unchanged == pytest.approx(texture[..., 0])
    assert standardized.mean(axis=(1, 2)) == pytest.approx(127.5, abs=0.01)
    assert standardized.std(axis=(1, 2)) == pytest.approx(40, rel=0.01)
    before = (unchanged, standardized, flat)
    changes = [np.abs(a - b).mean() for a, b in zip(before, relit, strict=True)]
    assert changes[0] == pytest.approx(np.abs(ramp).mean(), rel=0.01)
    assert changes[2] < 0.25 * min(changes[:2])


def test_histograms_of_the_same_images_are_computed_once(outputs, monkeypatch):
    def refuse(images):
        raise AssertionError("computed again")

    images = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 1), dtype=np.uint8)
    histograms = lbp_svm.cached_histograms(images)
    assert histograms.shape == (3, 54)
    monkeypatch.setattr(lbp_svm, "compute", refuse)
    assert np.array_equal(lbp_svm.cached_histograms(images), histograms)
    with pytest.raises(AssertionError, match="computed again"):
        lbp_svm.cached_histograms(images[:2])


@pytest.mark.parametrize("size", ["big", 16, 0, 64.0, 10_000])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(UserError, match=f"SIZE {size!r}: give 32 to 2048 pixels"):
        networks.input_size("custom_cnn", size)
    assert networks.input_size("custom_cnn") == 128
    assert networks.input_size("custom_cnn", 64) == 64
