"""Folders of models that are damaged in any way: a sentence each, no traceback, none accepted."""

import hashlib
import json
import multiprocessing
import os
import shutil
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import folders
import numpy as np
import pytest

from nbutils import artefacts, disk, runs
from nbutils.disk import UserError
from nbutils.inference import export
from nbutils.inference.predictor import load_predictor
from nbutils.uncertainty import drift

PREDICTING = (
    runs.KERAS_MODEL, runs.LITERT_MODEL, runs.MODEL_CARD, runs.REVIEW, runs.NOVELTY, runs.DRIFT
)  # fmt: skip
SHAPES = {
    "null": "null",
    "number": "1",
    "list": "[]",
    "text": '"x"',
    "empty": "",
    "zeros": "\0\0\0",
    "deep": "[" * 100_000,
    "long number": '{"classes": ' + "9" * 5000 + "}",
    "bytes": "\ufffe{}",
}


@pytest.fixture
def copy(trained, tmp_path):
    """A folder of a model without digests, to damage."""
    return folders.copy_model(trained, tmp_path / "model")


def change(folder, name, key, value):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | {key: value}))


def assert_refused(folder, backend="litert"):
    with pytest.raises(UserError) as caught:
        load_predictor(folder, backend)
        drift.load_reference(folder)
    sentence = str(caught.value)
    assert str(folder) in sentence, "the sentence names the file"
    assert "02_training" in sentence or "steel export" in sentence, "and the cure"


@pytest.mark.parametrize("name", [runs.MODEL_CARD, runs.REVIEW])
@pytest.mark.parametrize("content", SHAPES.values(), ids=SHAPES)
def test_json_of_any_shape(copy, name, content):
    (copy / name).write_text(content)
    assert_refused(copy)


@pytest.mark.parametrize(
    "value",
    [
        None, 6, "crazing", {}, [], [1, 2, 3, 4, 5, 6], ["a"], ["a"] * 6, [["a"]] * 6,
        ["a", "b", "c", "d", "e", ""], list("abcdefg"), [None] * 6,
    ],
    ids=repr,
)  # fmt: skip
def test_class_names_that_cannot_be(copy, value):
    change(copy, runs.MODEL_CARD, "classes", value)
    assert_refused(copy)
    assert_refused(copy, "keras")


@pytest.mark.parametrize("value", [None, 0, 3, "8", True, 1e300, [1]], ids=repr)
def test_views_that_cannot_be(copy, value):
    change(copy, runs.MODEL_CARD, "tta_views", value)
    assert_refused(copy)


@pytest.mark.parametrize(
    "facts",
    [
        {"grid": "6"},
        {"grid": [6]},
        {"grid": -1},
        {"grid": 10**9},
        {"grid": 0.5},
        {"defect_threshold": None},
        {"defect_threshold": float("nan")},
        {"boxed": 1},
        {"normal": "free"},
        {"normal": ["none of the classes"]},
        {"image_size": 5},
        {"image_size": [200]},
        {"image_size": [0, 200]},
        {"image_size": [1, 1]},
        {"image_size": ["a", "b"]},
        {"bit_depth": 7},
        {"bit_depth": "12"},
        {"bit_depth": 12.0},
        {"bit_depth": [12]},
    ],
    ids=repr,
)
def test_cells_that_cannot_be(copy, facts):
    whole = {"grid": 6, "defect_threshold": 0.5, "boxed": True, "normal": []}
    whole["image_size"] = [16, 16]
    for key, value in (whole | facts).items():
        change(copy, runs.MODEL_CARD, key, value)
    assert_refused(copy)


@pytest.mark.parametrize("name", ["temperature", "confidence", "novelty"])
@pytest.mark.parametrize(
    "value", [None, "1", [], {}, float("nan"), float("inf"), -1, True, 10**400], ids=lambda x: "x"
)
def test_thresholds_that_cannot_be(copy, name, value):
    change(copy, runs.REVIEW, name, value)
    assert_refused(copy)


@pytest.mark.parametrize("value", [None, [], {}, {"95": "0.1"}, {"95": float("nan")}, {"90": 0.1}])
def test_conformal_thresholds_that_cannot_be(copy, value):
    change(copy, runs.REVIEW, "conformal", value)
    assert_refused(copy)


@pytest.mark.parametrize("name", [runs.REVIEW, runs.MODEL_CARD])
def test_a_missing_key(copy, name):
    content = json.loads((copy / name).read_text())
    for key in ("classes", "temperature", "conformal", "confidence", "novelty"):
        if key in content:
            rest = {other: value for other, value in content.items() if other != key}
            (copy / name).write_text(json.dumps(rest))
            assert_refused(copy)


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file):
    file.write_bytes(b"")


def zero(file):
    file.write_bytes(bytes(file.stat().st_size))


def zero_middle(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 500] = bytes(500)
    file.write_bytes(content)


def folder_instead(file):
    file.unlink()
    file.mkdir()


def text(file):
    file.write_text("this is no model")


@pytest.mark.parametrize("damage", [truncate, empty, zero, zero_middle, folder_instead, text])
@pytest.mark.parametrize("name", [runs.NOVELTY, runs.DRIFT, runs.KERAS_MODEL])
def test_archives_that_are_damaged(copy, name, damage):
    damage(copy / name)
    assert_refused(copy, "keras")


@pytest.mark.parametrize("damage", [truncate, empty, zero, folder_instead, text])
def test_litert_files_that_are_damaged(copy, damage):
    damage(copy / runs.LITERT_MODEL)
    assert_refused(copy)


@pytest.mark.parametrize("name", PREDICTING)
def test_files_that_have_changed_are_refused(trained, tmp_path, name):
    """Many a changed byte would load, and answer wrongly."""
    copy = Path(shutil.copytree(trained, tmp_path / "model"))
    file = copy / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert artefacts.is_changed(file) and not artefacts.is_changed(trained / name)
    assert_refused(copy, "keras" if name == runs.KERAS_MODEL else "litert")


def test_a_name_of_a_class_that_was_changed_on_purpose(trained, tmp_path):
    copy = Path(shutil.copytree(trained, tmp_path / "model"))
    change(copy, runs.MODEL_CARD, "classes", list("abcdef"))
    with pytest.raises(
        UserError, match=rf"it is not what was written.* remove its line in {runs.DIGESTS}"
    ):
        load_predictor(copy)
    (copy / runs.DIGESTS).unlink()
    assert load_predictor(copy).classes == list("abcdef")


def test_a_changed_threshold_is_refused(trained, tmp_path):
    copy = Path(shutil.copytree(trained, tmp_path / "model"))
    change(copy, runs.REVIEW, "confidence", 0.5)
    with pytest.raises(UserError, match=r"review.json is damaged \(it is not what was written"):
        load_predictor(copy)


@pytest.mark.parametrize("content", ["", "\0\0\0", "abc", "0" * 64 + "\n"])
def test_digests_that_are_damaged_are_refused(trained, tmp_path, content):
    copy = Path(shutil.copytree(trained, tmp_path / "model"))
    (copy / runs.DIGESTS).write_text(content)
    with pytest.raises(UserError, match=r"SHA256SUMS is damaged.*02_training"):
        load_predictor(copy)


def test_distances_of_a_version_before_are_refused_with_the_cure(copy):
    with np.load(copy / runs.NOVELTY) as arrays:
        old = {name: arrays[name] for name in ("centers", "whitening")}
    np.savez_compressed(copy / runs.NOVELTY, **old)
    with pytest.raises(UserError, match=r"novelty.npz .*run 02_training again"):
        load_predictor(copy)


def test_digests_are_those_of_sha256sum(trained):
    listed = [line.split("  ") for line in (trained / runs.DIGESTS).read_text().splitlines()]
    assert sorted(name for _, name in listed) == sorted(PREDICTING)
    for digest, name in listed:
        assert hashlib.sha256((trained / name).read_bytes()).hexdigest() == digest


def digest_several(folder, first):
    for number in range(first, first + 10):
        with artefacts.digested(folder / f"{number}.txt"):
            (folder / f"{number}.txt").write_text(str(number))


def test_writers_of_digests_at_once_lose_none(tmp_path):
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(4, fork) as processes:
        list(processes.map(digest_several, [tmp_path] * 4, range(0, 40, 10)))
    assert len((tmp_path / runs.DIGESTS).read_text().splitlines()) == 40
    assert not any(artefacts.is_changed(tmp_path / f"{number}.txt") for number in range(40))


def test_a_litert_file_that_is_none_or_names_nothing_readable(copy):
    file = copy / runs.LITERT_MODEL
    content = file.read_bytes()
    name = content.index(b"serving_default")
    file.write_bytes(content[:name] + b"\xf6" + content[name + 1 :])
    assert_refused(copy)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UserError, match="is no file"):
        load_predictor(copy)


def test_an_export_that_is_interrupted_leaves_a_model_that_loads(trained, tmp_path, monkeypatch):
    copy = Path(shutil.copytree(trained, tmp_path / "model"))
    predictor, write, done = load_predictor(copy, "keras"), disk.atomic_write, []

    def interrupted(path):
        done.append(path.name)
        if done.count(runs.DIGESTS) == 2:
            raise KeyboardInterrupt
        return write(path)

    monkeypatch.setattr(disk, "atomic_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export.to_litert(predictor, copy / runs.LITERT_MODEL)
    assert done[1] == runs.LITERT_MODEL
    assert runs.LITERT_MODEL not in (copy / runs.DIGESTS).read_text()
    assert load_predictor(copy, "litert").size == 32


def arrays_of(file):
    with np.load(file) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", [runs.NOVELTY, runs.DRIFT])
@pytest.mark.parametrize(
    "make",
    [
        lambda array: array[:-1],
        lambda array: array[..., np.newaxis],
        lambda array: array[:0],
        lambda array: array.astype(object),
        lambda array: array.astype(str),
        lambda array: array.astype(complex),
        lambda array: np.full_like(array, np.nan),
        lambda array: np.full_like(array, np.inf),
    ],
    ids=["shorter", "deeper", "none", "objects", "text", "complex", "nan", "infinite"],
)
def test_arrays_that_cannot_be(copy, name, make):
    arrays = arrays_of(copy / name)
    key = "centers" if name == runs.NOVELTY else "means"
    np.savez_compressed(copy / name, **arrays | {key: make(arrays[key])})
    assert_refused(copy)


@pytest.mark.parametrize("name", [runs.NOVELTY, runs.DRIFT])
def test_arrays_that_are_missing(copy, name):
    np.savez_compressed(copy / name, other=np.zeros(3))
    assert_refused(copy)


def test_an_archive_that_unpacks_to_too_much(copy, monkeypatch):
    monkeypatch.setattr(artefacts, "MAX_UNPACKED", 10_000)
    assert_refused(copy)


def test_an_array_that_says_it_is_huge(copy):
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 9), }"
    header = header.ljust(118 - 1) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(copy / runs.NOVELTY, "w") as archive:
        for name in ("centers.npy", "whitening.npy"):
            archive.writestr(name, content + bytes(100))
    assert_refused(copy)


CONFIGS = [
    "null",
    "[]",
    "1",
    '"x"',
    "{}",
    '{"class_name": "Functional"}',
    '{"module": "os", "class_name": "system", "config": {}}',
    '{"module": "keras", "class_name": "Sequential", "config": {"layers": []}}',
    '{"module": "keras", "class_name": "Functional", "config": {"layers": [1]}}',
]


@pytest.mark.parametrize("config", CONFIGS)
def test_keras_archives_that_build_no_network(copy, config):
    file = copy / runs.KERAS_MODEL
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in (members | {"config.json": config.encode()}).items():
            archive.writestr(name, content)
    assert_refused(copy, "keras")
