"""What the tests share. All images are SYNTHETIC and small in number."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from nbutils import runs
from nbutils.data import corruptions, datasets, outliers, splits, synthetic

LONGEST = "test_notebooks.py"


def pytest_collection_modifyitems(items):
    """Begin with the file that takes longest, so that no process is left alone with it."""
    items.sort(key=lambda item: item.path.name != LONGEST)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """A folder with 12 SYNTHETIC images a class, in NEU-DET's layout."""
    return synthetic.write_dataset(tmp_path_factory.mktemp("data") / "SYNTHETIC", per_class=12)


@pytest.fixture(scope="session")
def table(stand_in):
    """The index of the stand-in."""
    return datasets.index_images(stand_in)


@pytest.fixture(scope="session")
def run(table, tmp_path_factory):
    """The folder of a run, with the stand-in's `split.csv`."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    folder.mkdir()
    splits.write_split(table, splits.make_split(table, "random", seed=0), folder)
    return folder


@pytest.fixture(scope="session")
def split(run):
    """The stand-in's split, read from a saved `split.csv`."""
    return splits.read_split(run)


@pytest.fixture
def outputs(tmp_path, monkeypatch):
    """An empty place for runs."""
    folder = tmp_path / "outputs"
    folder.mkdir()
    monkeypatch.setattr(runs, "OUTPUTS", folder)
    return folder


@pytest.fixture(scope="session")
def trained(run, split):
    """The folder of an untrained model in `run`, saved with its policy as `02_training` does."""
    from nbutils.inference import export, predictor
    from nbutils.models import networks, training

    folder = runs.create_model(run, networks.CUSTOM_CNN)
    classes = sorted(split["label"].unique())
    training.set_seeds(0)
    model = networks.custom_cnn(len(classes), seed=0, size=32)
    training.save_model(model, {"model": "custom_cnn", "classes": classes, "tta_views": 1}, folder)
    fit_policy(predictor.load_predictor(folder, "keras"), split, folder)
    export.to_litert(predictor.load_predictor(folder, "keras"), folder / runs.LITERT_MODEL)
    return folder


def fit_policy(predictor, split, folder):
    """Fit a review policy and drift's reference as `02_training` does, and save them."""
    from nbutils.data.images import image_statistics
    from nbutils.uncertainty import calibration, conformal, drift, novelty, review

    costs = review.ReviewCosts(false_accept=20, review=1, false_alarm_rate=0.1)
    known = split[split["part"] != "test"]
    images = datasets.read_images(known, predictor.size)
    y = known["label"].map(predictor.classes.index).to_numpy()
    held_out = (known["part"] == "validation").to_numpy()
    validation_images, validation_y = corruptions.with_corrupted_copies(
        images[held_out], y[held_out], strength=1.0, copies=2, seed=0
    )
    probabilities = predictor.forward(validation_images).probabilities
    temperature = calibration.fit_temperature(probabilities, validation_y)
    calibrated = calibration.temperature_scale(probabilities, temperature)
    curve = review.expected_cost(calibrated, validation_y, costs)
    probabilities, embeddings, _ = predictor.forward(images, tta_views=1)
    distances = novelty.held_out_distances(embeddings, y)
    drawn = predictor.forward(outliers.draw_outliers(50, predictor.size, seed=0)).embeddings
    of_outliers = novelty.fit_gaussians(drawn, np.zeros(len(drawn), int))
    relative = novelty.relative_distances(distances, of_outliers.distances(embeddings))
    thresholds = review.Thresholds(
        temperature,
        conformal.conformal_thresholds(calibrated, validation_y),
        review.optimal_threshold(curve),
        float(np.quantile(relative, 1 - costs.false_alarm_rate)),
    )
    review.ReviewPolicy(thresholds, novelty.fit_gaussians(embeddings, y), of_outliers).save(folder)
    statistics = np.array([image_statistics(image) for image in images])
    drift.fit_reference(statistics, embeddings, relative, y, predictor.classes, seed=0).save(folder)


@pytest.fixture
def gray():
    """Gray values with a gradient: uint8, 48 rows, 64 columns."""
    rows, columns = np.mgrid[:48, :64]
    return (2 * rows + 2 * columns).astype(np.uint8)


@pytest.fixture
def holder():
    """Start another process that takes a folder; all are killed at the end."""
    processes = []

    def hold(folder):
        code = (
            "import sys, time; from pathlib import Path; from nbutils import disk; "
            "disk.lock(Path(sys.argv[1])); print('taken', flush=True); time.sleep(600)"
        )
        command = [sys.executable, "-c", code, str(folder)]
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        assert processes[-1].stdout.readline() == b"taken\n"
        return processes[-1]

    yield hold
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def full(tmp_path):
    """A disk of 256 kB."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
