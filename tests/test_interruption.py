"""Trainings and inspections that are killed, started twice, or out of disk."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import folders
import numpy as np
import pandas as pd
import pytest

from nbutils import disk, pipeline, runs
from nbutils.disk import UserError
from nbutils.inference import batch
from nbutils.models import layers, resuming, training
from nbutils.runtime import keras

SETTINGS = {
    "epochs": 3, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 1e-4, "patience": 9,
    "seed": 0, "head": False, "corruption": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def arrays():
    """Images of two classes, noise with and without a stripe, and their class numbers."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (24, 16, 16, 1), dtype=np.uint8)
    y = np.arange(24) % 2
    images[y == 0, 4:8] += 150
    return images, y


def tiny_cnn():
    """A network with all that is random in training: augmentation, dropout, batch statistics."""
    image = keras.Input((16, 16, 1))
    x = layers.RandomSymmetry(seed=0)(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=2)(x))
    x = keras.layers.Dropout(0.3, seed=1)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(x))


def fit(arrays, folder, **chosen):
    settings = SETTINGS | chosen
    training.set_seeds(0)
    model = tiny_cnn()
    model.compile(
        optimizer=training.make_optimizer(settings),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model, training.fit(model, arrays, arrays, folder, settings)


@pytest.fixture(scope="module")
def whole(arrays, tmp_path_factory):
    """A training without interruption: its folder, model and history."""
    folder = tmp_path_factory.mktemp("whole")
    model, history = fit(arrays, folder)
    disk.unlock(folder)
    return folder, model, history


def assert_same_training(trained, whole):
    (model, history), (_, expected, rows) = trained, whole
    columns = rows.columns.drop("seconds")
    pd.testing.assert_frame_equal(history[columns], rows[columns], check_exact=True)
    for weights, others in zip(model.get_weights(), expected.get_weights(), strict=True):
        assert np.array_equal(weights, others)


@contextmanager
def interrupted_after(epoch):
    """Interrupt a training when its backup of an epoch is written."""
    save = resuming.save_weights

    def interrupt(model, folder, kind, number):
        save(model, folder, kind, number)
        if (kind, number) == (resuming.BACKUP, epoch):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("nbutils.models.history.save_weights", interrupt)
        yield


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_resumed_training_equals_an_uninterrupted_one(arrays, whole, tmp_path, epoch, capsys):
    with interrupted_after(epoch):
        fit(arrays, tmp_path)
    assert_same_training(fit(arrays, tmp_path), whole)
    assert f"resumed after epoch {epoch}" in capsys.readouterr().out


def test_a_resumed_training_from_a_trained_start_equals_an_uninterrupted_one(arrays, tmp_path):
    with interrupted_after(1):
        fit(arrays, tmp_path / "resumed", head=True)
    resumed = fit(arrays, tmp_path / "resumed", head=True)
    assert resumed[1]["epoch"].tolist() == [0, 1, 2, 3]
    whole = fit(arrays, tmp_path / "whole", head=True)
    assert_same_training(resumed, (None, *whole))


def test_a_kill_before_the_saving_costs_no_training(arrays, whole, tmp_path, capsys):
    folder = Path(shutil.copytree(whole[0], tmp_path / "model"))
    assert_same_training(fit(arrays, folder), whole)
    printed = capsys.readouterr().out
    assert "the training of 3 epochs was over" in printed and "loss" not in printed


def zeros(file):
    file.write_bytes(bytes(file.stat().st_size))


def nothing(file):
    file.write_bytes(b"")


def half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("backup_*", zeros),
        ("backup_3*", half),
        ("best_*", zeros),
        ("history.csv", nothing),
        ("settings*", half),
    ],
)
def test_what_cannot_be_resumed_is_set_aside(arrays, whole, tmp_path, pattern, damage, capsys):
    folder = Path(shutil.copytree(whole[0], tmp_path / "model"))
    for file in (folder / "training").glob(pattern):
        damage(file)
    assert_same_training(fit(arrays, folder), whole)
    assert "set aside" in capsys.readouterr().out
    assert any(folder.rglob("damaged_*"))


def test_a_kill_within_the_first_backup_starts_anew(arrays, whole, tmp_path, capsys):
    folder = Path(shutil.copytree(whole[0], tmp_path / "model"))
    for file in (folder / "training").glob("b*.npz"):
        file.rename(file.with_name(f".12345678.{file.name}"))
    assert_same_training(fit(arrays, folder), whole)
    assert "training starts anew" in capsys.readouterr().out


def test_what_a_new_model_makes_stale_goes_before_it_is_written(whole, tmp_path, monkeypatch):
    stale = [tmp_path / name for name in runs.STALE_AFTER_TRAINING]
    for file in stale:
        file.write_text("of the model before")
    monkeypatch.setattr(disk, "atomic_write", lambda path: pytest.fail(str(path)))
    with pytest.raises(pytest.fail.Exception, match=r"model\.keras"):
        training.save_model(whole[1], {"classes": ["a", "b"]}, tmp_path)
    disk.unlock(tmp_path)
    assert not [file for file in stale if file.exists()]


@pytest.fixture(scope="module")
def inspected(trained, stand_in, tmp_path_factory):
    """An inspection of 72 images: their folder, the model, the inspection's folder, its rows."""
    model = folders.copy_model(trained, tmp_path_factory.mktemp("run") / "model")
    folder = tmp_path_factory.mktemp("inspected") / "inspection"
    rows = batch.inspect([str(stand_in)], folder, model, processes=1).read_bytes()
    return str(stand_in), model, folder, rows.splitlines(keepends=True)


@pytest.fixture
def again(inspected, tmp_path):
    """A copy of the inspection, and what goes on with it."""
    source, model, folder, _ = inspected
    copy = Path(shutil.copytree(folder, tmp_path / "inspection"))
    return copy, lambda: batch.inspect([source], copy, model, processes=1)


DAMAGED_ROWS = {
    "garbage": lambda rows: [b"x" * 9 + b"\n"],
    "binary": lambda rows: [bytes(range(128, 255)) + b"\n"],
    "zeros": lambda rows: [bytes(len(rows[5]) - 1) + b"\n"],
    "torn": lambda rows: [rows[5][:40] + b"\n"],
    "joined": lambda rows: [rows[5][:40] + rows[6]],
    "twice": lambda rows: [rows[5], rows[5]],
    "missing": lambda rows: [],
    "empty": lambda rows: [b"\n"],
    "quoted": lambda rows: [b'"' + rows[5]],
}


@pytest.mark.parametrize("damage", DAMAGED_ROWS.values(), ids=DAMAGED_ROWS)
def test_a_damaged_row_is_inspected_again(inspected, again, damage, capsys):
    (folder, inspect), rows = again, inspected[3]
    (folder / runs.INSPECTIONS).write_bytes(b"".join(rows[:5] + damage(rows) + rows[6:]))
    table = inspect().read_text().splitlines()
    assert "is damaged after row" in capsys.readouterr().out
    paths = [row.partition(",")[0] for row in table]
    assert paths == [row.decode().partition(",")[0] for row in rows]


def test_more_rows_than_images_are_cut_off(inspected, again):
    folder, inspect = again
    with (folder / runs.INSPECTIONS).open("ab") as table:
        table.write(inspected[3][1])
    assert inspect().read_bytes() == b"".join(inspected[3])


@pytest.mark.parametrize("name", [runs.REVIEW, runs.NOVELTY, runs.DRIFT, runs.MODEL_CARD])
def test_other_thresholds_are_not_mixed_in(inspected, again, name):
    file, (_, inspect) = inspected[1] / name, again
    before = file.read_bytes()
    try:
        file.write_bytes(before + b" ")
        with pytest.raises(UserError, match=f"before its {name} changed: name another run"):
            inspect()
    finally:
        file.write_bytes(before)


@pytest.mark.parametrize("name", [runs.INSPECTION, runs.IMAGE_LIST])
@pytest.mark.parametrize("damage", [zeros, nothing, half])
def test_a_damaged_inspection_is_declined(again, name, damage):
    folder, inspect = again
    damage(folder / name)
    with pytest.raises(UserError, match=r"name another run|to start anew"):
        inspect()


def test_of_two_pipelines_inspections_or_trainings_one_declines(
    arrays, trained, stand_in, outputs, holder
):
    place = outputs / "run"
    holder(place)
    with pytest.raises(UserError, match="is in use by process"):
        pipeline.run("run", only="01")
    with pytest.raises(UserError, match="is in use by process"):
        batch.inspect([str(stand_in)], place, trained, processes=1)
    with pytest.raises(UserError, match="is in use by process"):
        fit(arrays, place)
    assert [file.name for file in place.iterdir()] == [disk.LOCK]


def test_a_full_disk_ends_what_writes_in_a_sentence(full, arrays, trained, stand_in):
    (full / "rest").write_bytes(bytes(250_000))
    for write in (
        lambda: fit(arrays, full / "model"),
        lambda: batch.inspect([str(stand_in)], full / "inspection", trained, processes=1),
        lambda: training.save_model(tiny_cnn(), {}, full / "other"),
    ):
        with pytest.raises(UserError, match="the disk is full"):
            write()
    disk.unlock(full / "other")
    assert not [file for file in full.rglob(".*") if disk.TEMPORARY.fullmatch(file.name)]
