"""Networks, their training, and what survives an interruption."""

import numpy as np
import pandas as pd
import pytest

from nbutils import batches, layers, models, progress, training
from nbutils.backend import keras
from nbutils.paths import UserError

SETTINGS = {
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.01,
    "weight_decay": 1e-4,
    "patience": 9,
    "seed": 0,
    "head": False,
    "corruption": 0.0,
    "boxes": 0.0,
}


@pytest.fixture(scope="module")
def arrays():
    """Images of two classes that differ by the direction of a stripe, and their numbers."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (48, 32, 32, 1), dtype=np.uint8)
    numbers = np.arange(48) % 2
    images[numbers == 0, 10:14] += 150
    images[numbers == 1, 10:14, 10:14] += 150
    return images, numbers


def fit(arrays, run, **changes):
    training.set_seeds(0)
    model = models.custom_cnn(classes=2, seed=0, size=32)
    return model, training.fit(model, arrays, arrays, run, SETTINGS | changes)


def test_symmetry_draws_all_eight_in_training_and_none_after():
    image = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    layer = layers.RandomSymmetry(seed=0)
    batch = np.repeat(image, 200, axis=0)
    assert np.array_equal(layer(batch), batch)
    drawn = {tuple(np.ravel(turned)) for turned in np.array(layer(batch, training=True))}
    square = image[0, ..., 0]
    turns = [np.rot90(flipped, k) for flipped in (square, square.T) for k in range(4)]
    assert drawn == {tuple(np.ravel(turned)) for turned in turns}


def test_custom_cnn_ignores_light_and_gives_probabilities():
    model = models.custom_cnn(classes=3, seed=0, size=32)
    image = np.random.default_rng(0).integers(0, 100, (1, 32, 32, 1)).astype(np.float32)
    dark, bright = model.predict(np.concatenate([image, image * 2 + 30]), verbose=0)
    assert dark.sum() == pytest.approx(1, abs=1e-5)
    assert dark == pytest.approx(bright, abs=1e-3)


def test_training_learns_and_keeps_the_best_epoch(arrays, tmp_path):
    model, history = fit(arrays, tmp_path, epochs=12)
    best = history["val_loss"][history["epoch"] > 9].min()
    loss, accuracy = model.evaluate(*arrays, verbose=0, batch_size=8)
    assert loss == pytest.approx(best, abs=1e-3)
    assert accuracy > 0.9
    assert history["learning_rate"].iloc[-1] < history["learning_rate"].max() / 10
    assert any((tmp_path / "tensorboard").rglob("events*"))


def cut_after(epochs, arrays, run, monkeypatch):
    """Stop a training as a power cut does, between an epoch's history and its backup."""
    write = progress.paths.write_csv

    def interrupt(table, path):
        write(table, path)
        if len(table) == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(progress.paths, "write_csv", interrupt)
        fit(arrays, run)


def test_training_goes_on_after_an_interruption(arrays, tmp_path, monkeypatch, capsys):
    _, whole = fit(arrays, tmp_path / "whole")
    cut_after(3, arrays, tmp_path / "cut", monkeypatch)
    assert len(pd.read_csv(tmp_path / "cut" / "history.csv")) == 3
    capsys.readouterr()
    _, resumed = fit(arrays, tmp_path / "cut")
    assert "resumed after epoch 2" in capsys.readouterr().out
    assert resumed["epoch"].tolist() == [1, 2, 3, 4]
    assert resumed["learning_rate"].tolist() == pytest.approx(whole["learning_rate"].tolist())
    assert resumed["loss"][:2].tolist() == pytest.approx(whole["loss"][:2].tolist(), rel=0.05)


@pytest.mark.parametrize(
    ("losses", "first", "kept"),
    [
        ([5, 1, 4, 3, 2, 3], 1, 5),  # epochs 1 to 4 of 6 are early
        ([5, 1, 4], 1, 2),  # so far
        ([2.5, 1, 1], 0, 1),  # a stop before the last fifth: all count
        ([2.5, 1, 1, 1, 1, 3, 4], 0, 0),  # the trained start was best
        ([2.5, 1, 1, 1, 1, 3, 2], 0, 6),
    ],
)
def test_the_last_fifth_and_a_trained_start_compete(losses, first, kept):
    epochs = range(first, first + len(losses))
    history = pd.DataFrame({"epoch": epochs, "val_loss": losses})
    assert progress.best_epoch(history, 6) == kept


def test_a_trained_start_is_epoch_0_and_is_kept_where_training_spoils_it(arrays, tmp_path):
    trained, _ = fit(arrays, tmp_path / "first", epochs=12)
    before = trained.get_weights()
    history = training.fit(
        trained,
        arrays,
        arrays,
        tmp_path / "second",
        SETTINGS | {"head": True, "learning_rate": 5.0, "epochs": 2},
    )
    assert history["epoch"].tolist() == [0, 1, 2]
    assert progress.best_epoch(history, 2) == 0
    for weights, old in zip(trained.get_weights(), before, strict=True):
        assert np.array_equal(weights, old)


def test_no_epochs_leave_a_trained_start_as_it_is(arrays, tmp_path):
    trained, _ = fit(arrays, tmp_path / "first", epochs=1)
    history = training.fit(
        trained, arrays, arrays, tmp_path / "second", SETTINGS | {"head": True, "epochs": 0}
    )
    assert history["epoch"].tolist() == [0]


def test_recipe():
    own = training.recipe("custom_cnn", epochs=None, learning_rate=None)
    assert own == training.COMMON | training.RECIPES["custom_cnn"]
    assert training.recipe("mobilenet_v2", epochs=0, head=True)["epochs"] == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", "ten"),
        ("batch_size", 0),
        ("patience", 0),
        ("views", 9),
        ("learning_rate", -1),
        ("corruption", 2),
    ],
)
def test_settings_that_cannot_be_are_refused_before_training(name, value):
    with pytest.raises(UserError, match=f"{name.upper()} {value!r}"):
        training.recipe("custom_cnn", **{name: value})


def test_an_interrupted_run_is_not_resumed_with_other_images(arrays, tmp_path, monkeypatch, capsys):
    cut_after(2, arrays, tmp_path, monkeypatch)
    others = arrays[0][::-1].copy(), arrays[1][::-1].copy()
    capsys.readouterr()
    _, history = fit(others, tmp_path)
    assert "resumed" not in capsys.readouterr().out
    assert len(history) == 4


def test_training_corrupts_anew_each_epoch_and_validates_on_both(arrays, tmp_path):
    seen = []
    settings = SETTINGS | {"corruption": 1.0}
    rows = batches.shuffled(arrays, settings)
    for _ in range(2):
        epoch = [(images.numpy(), numbers.numpy()) for images, numbers in rows]
        order = np.argsort(np.concatenate([numbers for _, numbers in epoch]), kind="stable")
        seen.append(np.concatenate([images for images, _ in epoch])[order])
    assert seen[0].shape == arrays[0].shape
    assert not np.array_equal(*seen)
    firsts = [next(iter(batches.shuffled(arrays, settings)))[0] for _ in range(2)]
    assert np.array_equal(*firsts)
    judges = np.concatenate([images for images, _ in batches.judging(arrays, settings)])
    assert len(judges) == 2 * len(arrays[0])
    assert np.array_equal(judges[: len(arrays[0])], arrays[0])
    assert not np.array_equal(judges[len(arrays[0]) :], arrays[0])
    _, history = fit(arrays, tmp_path, corruption=0.5, epochs=1)
    assert len(history) == 1


def test_other_settings_start_anew(arrays, tmp_path, monkeypatch, capsys):
    cut_after(3, arrays, tmp_path, monkeypatch)
    capsys.readouterr()
    _, history = fit(arrays, tmp_path, epochs=2)
    assert "resumed" not in capsys.readouterr().out
    assert len(history) == 2


def test_early_stop(arrays, tmp_path, capsys):
    _, history = fit(arrays, tmp_path, epochs=30, patience=1, learning_rate=1.0)
    assert len(history) < 30
    assert "stopped" in capsys.readouterr().out


def test_saved_model_has_no_optimizer_and_predicts_the_same(arrays, tmp_path):
    model, _ = fit(arrays, tmp_path, epochs=1)
    training.save(model, {"classes": ["a", "b"]}, tmp_path)
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert not loaded.compiled
    same = model.predict(arrays[0], verbose=0)
    assert loaded.predict(arrays[0], verbose=0) == pytest.approx(same, abs=1e-6)
    assert not (tmp_path / "training").exists()


def test_even_light_takes_a_slow_ramp_from_the_third_channel_alone():
    texture = np.random.default_rng(0).normal(120, 20, (2, 200, 200, 1)).astype(np.float32)
    ramp = np.linspace(-60, 60, 200, dtype=np.float32).reshape(1, 1, 200, 1)
    as_it_is, standard, flat = np.moveaxis(layers.EvenLight()(texture).numpy(), -1, 0)
    lit = np.moveaxis(layers.EvenLight()(texture + ramp).numpy(), -1, 0)
    assert as_it_is == pytest.approx(texture[..., 0])
    assert standard.mean(axis=(1, 2)) == pytest.approx(127.5, abs=0.01)
    assert standard.std(axis=(1, 2)) == pytest.approx(40, rel=0.01)
    changes = [np.abs(a - b).mean() for a, b in zip((as_it_is, standard, flat), lit, strict=True)]
    assert changes[0] == pytest.approx(np.abs(ramp).mean(), rel=0.01)
    assert changes[2] < 0.25 * min(changes[:2])
