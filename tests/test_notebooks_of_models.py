"""Notebooks 06 to 09 where something is missing: models that know the classes, weights, images."""

import nbformat
import pandas as pd
import papermill
import pytest
from conftest import fit_policy

from nbutils import runs
from nbutils.data import splits

CLASSES = {"patches": "hole", "scratches": "dent"}  # of the stand-in -> of the foreign run


@pytest.fixture(scope="module")
def foreign(split, tmp_path_factory):
    """The folder of a SYNTHETIC run of two classes that no shipped model knows."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "outputs" / "foreign"
    folder.mkdir(parents=True)
    table = split[split["label"].isin(CLASSES)].reset_index(drop=True)
    splits.write_split(table.assign(label=table["label"].map(CLASSES)), table["part"], folder)
    runs.mark_synthetic(folder, "drawn for tests")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEEL_HOME", str(home))
        yield folder


@pytest.fixture(scope="module")
def with_model(foreign):
    """The same with a model, untrained, and its policy."""
    from nbutils.inference.predictor import load_predictor
    from nbutils.models import networks, training

    folder = runs.create_model(foreign, networks.CUSTOM_CNN)
    card = {"classes": sorted(CLASSES.values()), "tta_views": 1, "settings": {}}
    training.save_model(networks.custom_cnn(len(CLASSES), seed=0, size=32), card, folder)
    fit_policy(load_predictor(folder, "keras"), splits.read_split(foreign), folder)
    return foreign


def printed(number, **parameters):
    """Execute a notebook; return what it prints."""
    [path] = runs.NOTEBOOKS.glob(f"{number}_*.ipynb")
    notebook = papermill.execute_notebook(
        str(path), None, parameters, kernel_name="python3", progress_bar=False
    )
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def test_the_comparison_leaves_out_what_cannot_be_had(foreign):
    named = {"FIXED": "lbp_svm,custom_cnn,no_such_network", "BLOCKED": "", "HOLDOUT": "lbp_svm"}
    text = printed("06", **named, CURVE="", N_REPEATS=2, CNN_MODELS="none")
    assert "custom_cnn is left out: the run has no trained one" in text
    assert "no_such_network is left out: there is no backbone" in text
    table = pd.read_csv(foreign / "comparison" / "comparison.csv")
    assert table["model"].tolist() == ["lbp_svm"]
    assert table["protocol"].tolist() == ["fixed"]


def test_robustness_of_the_models_that_know_the_classes(with_model):
    text = printed("07", IMAGES_PER_CLASS=1)
    assert "mobilenet_v2 is left out: it does not know dent, hole" in text
    table = pd.read_csv(with_model / "robustness" / "robustness.csv")
    assert set(table["model"]) == {"custom_cnn"}


def test_novelty_by_a_model_of_the_run_where_the_named_one_does_not_fit(with_model):
    text = printed("08")
    assert "models of the run instead: custom_cnn" in text
    groups = pd.read_csv(with_model / "open_set" / "summary.csv").set_index("group")
    assert groups.loc["plain gray", "images"] == 20


def test_an_inspection_by_a_model_of_the_run(with_model):
    printed("09", N_BATCHES=0)
    table = pd.read_csv(with_model / "inspection" / runs.INSPECTIONS)
    split = pd.read_csv(with_model / runs.SPLIT)
    assert table["path"].tolist() == split.loc[split["part"] == "test", "path"].tolist()
    assert set(table["predicted"]) <= set(CLASSES.values())


def test_the_committed_results_notebook_has_no_outputs():
    notebook = nbformat.read(runs.NOTEBOOKS / "reference_results.ipynb", 4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]
