"""A model exported for LiteRT predicts as before, without TensorFlow."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nbutils import runs
from nbutils.data import datasets
from nbutils.disk import UserError
from nbutils.inference import export
from nbutils.inference.predictor import find_backend, load_predictor
from nbutils.models import training


@pytest.fixture(scope="module")
def exported(run, trained, tmp_path_factory):
    """A copy of the trained model in a run with a split, exported, and the comparison's table."""
    copy = tmp_path_factory.mktemp("exported")
    shutil.copy(run / runs.SPLIT, copy)
    model = Path(shutil.copytree(trained, copy / trained.name))
    (model / runs.LITERT_MODEL).unlink()
    return model, export.export(model)


def test_every_backend_is_compared_with_keras(exported):
    model, table = exported
    assert table["backend"].tolist() == ["keras", "litert"]
    assert table.equals(runs.read_csv(model / runs.EXPORT))
    litert = table.set_index("backend").loc["litert"]
    assert litert["difference"] < 1e-4
    assert litert["agreement"] == 1
    assert litert["size_mb"] == (model / runs.LITERT_MODEL).stat().st_size / 2**20


def test_decisions_are_the_same(exported, split):
    model, _ = exported
    data = [Path(path).read_bytes() for path in split["path"][:10]]
    slow, fast = (load_predictor(model, backend).predict(data) for backend in ("keras", "litert"))
    assert [one.novelty for one in fast] == pytest.approx([one.novelty for one in slow], rel=1e-3)
    assert [one.decision for one in fast] == [one.decision for one in slow]


def test_one_image_is_predicted_as_among_many(exported, split):
    predictor = load_predictor(exported[0], "litert")
    images = datasets.read_images(split[::10], predictor.size)
    together = predictor.forward(images).probabilities
    alone = [predictor.forward([image])[0][0] for image in images]
    assert np.array(alone) == pytest.approx(together, abs=1e-5)


def test_tensorflow_stays_out(exported, split):
    code = f"""
import json, sys
from nbutils import load_predictor
data = open({split["path"][0]!r}, "rb").read()
[one] = load_predictor({str(exported[0])!r}, "litert").predict([data])
print(json.dumps([one.label, [name for name in ("tensorflow", "keras") if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    label, loaded = json.loads(done.stdout)
    assert label in set(split["label"])
    assert loaded == []


def test_a_model_that_is_trained_again_has_no_export_any_more(exported, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(exported[0], folder)
    assert find_backend(folder) == "litert"
    network = load_predictor(folder, "keras").model
    training.save_model(network, {"classes": list("abcdef")}, folder)
    assert find_backend(folder) == "keras"
    assert not (folder / runs.EXPORT).exists()
    with pytest.raises(UserError, match=r"model\.tflite is missing: run steel export"):
        load_predictor(folder, "litert")


def test_a_damaged_file_is_named(exported, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(exported[0], folder)
    (folder / runs.LITERT_MODEL).write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"model\.tflite is damaged"):
        load_predictor(folder, "litert")
    with pytest.raises(UserError, match="'onnx' is unknown: choose one of keras, litert"):
        load_predictor(folder, "onnx")
