"""Notebooks with pretrained models, and those that compare models, on SYNTHETIC images."""

import shutil

import pandas as pd
import pytest
from conftest import read_json

from nbutils import pipeline, robustness


@pytest.fixture(scope="module")
def run(stand_in, tmp_path_factory):
    """The folder of a run that has its split of SYNTHETIC images, and no model."""
    folder = tmp_path_factory.mktemp("outputs") / "tiny"
    arguments = ["--run", str(folder), "--data", str(stand_in), "--only", "01"]
    assert pipeline.main([*arguments, "-p", "SPLIT", "random"]) == 0
    return folder


def test_a_pretrained_model_goes_the_same_way(run, tmp_path):
    """EfficientNet-Lite0 on SYNTHETIC images: its weights come with the packages."""
    folder = prepared(run, tmp_path / "lite0")
    chosen = {"MODEL": "efficientnet_lite0", "SIZE": 64, "EPOCHS": 1, "VIEWS": 8}
    chosen |= {"CORRUPTION": 0.5, "BOXES": 0.3, "COMPARED": 1}
    assert pipeline.main(["--run", str(folder), "--only", "02,03,04,05", *words(chosen)]) == 0
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [0, 1]
    assert read_json(folder / "model.json")["views"] == 8
    assert len(pd.read_csv(folder / "cam_methods.csv")) == 8


def test_the_comparison_runs_on_a_split(run, tmp_path):
    folder = prepared(run, tmp_path / "comparison")
    chosen = {"FIXED": "lbp_svm,custom_cnn,efficientnet_lite0", "BLOCKED": "lbp_svm"}
    chosen |= {"HALVES": "lbp_svm", "CURVE": "lbp_svm", "REPEATS": 2, "COUNTS": "2,99", "DRAWS": 2}
    chosen |= {"CNN_RUNS": "none"}
    assert pipeline.main(["--run", str(folder), "--only", "06", *words(chosen)]) == 0
    table = pd.read_csv(folder / "comparison.csv").set_index("model")
    assert {"lbp_svm", "efficientnet_lite0", "efficientnet_lite0 x8"} <= set(table.index)
    assert (table[["parameters", "file_mb", "one_ms", "batch_ms", "memory_mb"]] > 0).all(axis=None)
    assert "SYNTHETIC" in (folder / "outcomes.csv").read_text()


def test_robustness_is_measured_on_a_split(run, trained, tmp_path):
    folder = prepared(run, tmp_path / "robustness")
    chosen = {"MODELS": str(trained), "IMAGES": 1}
    assert pipeline.main(["--run", str(folder), "--only", "07", *words(chosen)]) == 0
    table = pd.read_csv(folder / "robustness.csv")
    assert len(table) == len(robustness.cells())
    assert table["accuracy"].between(0, 1).all()
    coverage = pd.read_csv(folder / "coverage.csv")
    assert set(coverage["level"]) == {90, 95, 99}
    assert pd.read_csv(folder / "robustness_summary.csv")["clean"].between(0, 1).all()


def test_a_batch_is_inspected(run, trained, tmp_path):
    folder = prepared(run, tmp_path / "inspection")
    chosen = {"MODEL": str(trained), "BATCHES": 2, "SHOWN": 3}
    assert pipeline.main(["--run", str(folder), "--only", "08", *words(chosen)]) == 0
    split = pd.read_csv(folder / "split.csv")
    table = pd.read_csv(folder / "inspections.csv", comment="#")
    assert list(table["path"]) == list(split.loc[split["part"] == "test", "path"])
    assert set(table["notice"]) == {"SYNTHETIC"}
    assert "Review queue" in (folder / "inspection.html").read_text()


def test_what_a_model_does_not_know_is_measured(run, tmp_path):
    without = prepared(run, tmp_path / "without")
    chosen = {"EPOCHS": 1, "SIZE": 32, "LEAVE_OUT": "scratches"}
    assert pipeline.main(["--run", str(without), "--only", "02", *words(chosen)]) == 0
    assert "scratches" not in read_json(without / "model.json")["classes"]
    folder = prepared(run, tmp_path / "novelty")
    chosen = {"MODEL": str(without), "WITHOUT": str(without)}
    assert pipeline.main(["--run", str(folder), "--only", "09", *words(chosen)]) == 0
    found = pd.read_csv(folder / "left_out.csv")
    assert set(found["left_out"]) == {"scratches"}
    assert len(found) == 5
    assert found["auroc"].between(0, 1).all()
    groups = pd.read_csv(folder / "novelty_summary.csv").set_index("group")
    assert groups.loc["plain gray", "images"] == 20


def prepared(run, folder):
    """Make a folder for a run that takes over another's SYNTHETIC split."""
    folder.mkdir()
    for name in ("audit.json", "split.csv", "SYNTHETIC.txt"):
        shutil.copyfile(run / name, folder / name)
    return folder


def words(parameters):
    return [word for name, value in parameters.items() for word in ("-p", name, str(value))]
