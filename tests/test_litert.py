"""LiteRT runs a network as Keras does."""

import os
import shutil
from threading import Event, Thread

import numpy as np
import pytest

from nbutils import runs
from nbutils.disk import UserError
from nbutils.inference.predictor import load_predictor
from nbutils.models import litert
from nbutils.runtime import suppress_stderr


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """The trained network without its embedding: the Keras model, and its file for LiteRT."""
    model = load_predictor(trained, "keras").model
    file = tmp_path_factory.mktemp("plain") / runs.LITERT_MODEL
    litert.write_litert(model, file)
    return model, file


def test_a_file_that_does_not_fit_the_model_is_refused(trained, plain, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    shutil.copytree(plain[1].parent, folder, dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"model\.tflite does not fit model\.json"):
        load_predictor(folder, "litert")


@pytest.mark.parametrize("size", [1, 4, 11])
def test_batches_of_any_size_in_order(plain, size):
    model, file = plain
    images = np.random.default_rng(0).integers(0, 255, (11, 32, 32, 1), dtype=np.uint8)
    batches = (images[at : at + size] for at in range(0, 11, size))
    outputs = np.concatenate(list(litert.LiteRTNetwork(file).map(batches)))
    assert outputs == pytest.approx(model.predict_on_batch(images), abs=1e-5)


def test_stderr_is_restored_where_two_threads_suppress_it(capfd):
    inside, followed = Event(), Event()

    def lead():
        with suppress_stderr():
            inside.set()
            followed.wait(0.3)

    def follow(leader):
        with suppress_stderr():
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
