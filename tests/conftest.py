"""What the tests share. All images are SYNTHETIC and small in number."""

import json

import numpy as np
import pytest

from nbutils import data, layouts, paths, splits, synthetic

LONGEST = "test_notebooks_of_models.py"


def pytest_collection_modifyitems(items):
    """Begin with the file that takes longest, so that no process is left alone with it."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """A folder with 12 SYNTHETIC images a class, in NEU-DET's layout."""
    return synthetic.stand_in(tmp_path_factory.mktemp("data") / "SYNTHETIC", per_class=12)


@pytest.fixture(scope="session")
def table(stand_in):
    """The index of the stand-in."""
    return data.index(stand_in)


@pytest.fixture(scope="session")
def split(table, tmp_path_factory):
    """The stand-in's split, read from a saved `split.csv`."""
    run = tmp_path_factory.mktemp("split")
    splits.write_split(table, splits.make_split(table, "random", seed=0), run)
    return splits.read_split(run)


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """An empty place for runs."""
    monkeypatch.setattr(paths, "OUTPUTS", tmp_path / "outputs")
    return paths.OUTPUTS


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run's folder with an untrained model and its limits, saved as `02_training` saves them."""
    from nbutils import limits, models, training
    from nbutils.predict import load_predictor

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    training.set_seeds(0)
    model = models.custom_cnn(classes=6, seed=0, size=32)
    training.save(model, {"classes": list(layouts.NEU_CLASSES)}, folder)
    squares = np.random.default_rng(0).integers(0, 255, (36, 32, 32, 1), dtype=np.uint8)
    images = squares, np.arange(36) % 6
    costs = limits.Costs(miss=20, review=1, novel=0.1)
    found = limits.fit(load_predictor(folder), images, images, costs, corruption=1, seed=0)
    found.save(folder)
    return folder


@pytest.fixture
def gray():
    """Gray values with a gradient: uint8, 48 rows, 64 columns."""
    rows, columns = np.mgrid[:48, :64]
    return (2 * rows + 2 * columns).astype(np.uint8)


def read_json(path):
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
