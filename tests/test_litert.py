"""LiteRT answers as Keras does."""

import os
import shutil
from threading import Event, Thread

import numpy as np
import pytest

from nbutils import answering, litert
from nbutils.paths import UserError
from nbutils.predict import load_predictor
from nbutils.quiet import quietly


def test_a_file_of_other_classes_is_refused(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    model = load_predictor(folder).model
    answering.write(answering.answering(model), folder / "model.tflite")
    assert load_predictor(folder, "litert").network.width > 6
    answering.write(model, folder / "model.tflite")
    with pytest.raises(UserError, match=r"model\.tflite does not fit model\.json"):
        load_predictor(folder, "litert")


def test_batches_of_any_size_in_order(trained, tmp_path):
    model = load_predictor(trained).model
    answering.write(model, tmp_path / "model.tflite")
    network = litert.Network(tmp_path / "model.tflite")
    squares = np.random.default_rng(0).integers(0, 255, (11, 32, 32, 1), dtype=np.uint8)
    expected = model.predict_on_batch(squares)
    for size in (1, 4, 11):
        batches = (squares[at : at + size] for at in range(0, 11, size))
        found = np.concatenate(list(network.map(batches)))
        assert found == pytest.approx(expected, abs=1e-5)


def test_silence_ends_where_two_threads_want_it(capfd):
    inside, followed = Event(), Event()

    def lead():
        with quietly():
            inside.set()
            followed.wait(0.3)

    def follow(leader):
        with quietly():
            followed.set()
            leader.join()

    leader = Thread(target=lead)
    follower = Thread(target=follow, args=[leader])
    leader.start()
    inside.wait()
    follower.start()
    follower.join()
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
