"""The shape that all notebooks share, and one walk through all of them on SYNTHETIC images."""

import ast
import re
import shutil
import statistics
from itertools import pairwise

import nbformat
import pandas as pd
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from nbutils import pipeline, runs
from nbutils.evaluation import robustness
from nbutils.runs import read_json

NOTEBOOKS = pipeline.notebooks()
MAX_LINES, MAX_MEDIAN = 20, 6  # of code cells
MAX_PARAMETERS = 30  # lines of the parameters cell
IMPORTS = (ast.Import, ast.ImportFrom)
PRETRAINED, HELD_OUT = "lite0", "without_scratches"  # models beside the default one
STEPS = (  # notebook and its parameters; all others are the defaults
    ("01", {}),
    ("02", {"EPOCHS": 1}),
    ("03", {}),
    ("04", {"HITS": 1, "COMPARED": 1}),
    ("05", {}),
    (
        "02",
        {"MODEL": "efficientnet_lite0", "NAME": PRETRAINED, "SIZE": 64, "EPOCHS": 0}
        | {"BOXES": False},
    ),
    (
        "02",
        {"NAME": HELD_OUT, "HELD_OUT_CLASS": "scratches", "SIZE": 32, "EPOCHS": 1}
        | {"CORRUPTION": 0.5, "MAP_WEIGHT": 0.0, "TTA_VIEWS": 1},
    ),
    (
        "06",
        {"FIXED": "lbp_svm,custom_cnn", "BLOCKED": "lbp_svm"}
        | {"HOLDOUT": "lbp_svm", "CURVE": "lbp_svm", "N_REPEATS": 2}
        | {"TRAIN_SIZES": "2", "N_DRAWS": 2},
    ),
    ("07", {"IMAGES_PER_CLASS": 1}),
    ("08", {"HELD_OUT_MODELS": HELD_OUT}),
    ("09", {"N_BATCHES": 2, "MAX_REVIEW_ROWS": 3}),
)


@pytest.fixture(params=NOTEBOOKS.values(), ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, 4)


def cells(notebook, kind):
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def test_committed_without_outputs(notebook):
    for cell in cells(notebook, "code"):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_starts_with_what_it_is_for_what_it_reads_and_what_it_writes(notebook):
    intro = notebook.cells[0].source
    assert intro.startswith("# ")
    assert re.search(r"minutes? on\s+two\s+cores", intro)
    assert "At the end you hold" in intro
    assert 2 <= len(re.findall(r"^- ", intro, re.MULTILINE)) <= 4
    assert "**Reads**" in intro
    assert "**Writes**" in intro
    titles = [cell for cell in cells(notebook, "markdown") if cell.source.startswith("# ")]
    assert len(titles) == 1


def test_imports_come_first_and_once(notebook):
    trees = [ast.parse(cell.source) for cell in cells(notebook, "code")]
    assert {type(node) for node in trees[0].body} <= set(IMPORTS)
    for tree in trees[1:]:
        assert not any(isinstance(node, IMPORTS) for node in ast.walk(tree))


def test_one_parameters_cell_of_explained_literals(notebook):
    code = cells(notebook, "code")
    tagged = [at for at, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [1]
    source = code[1].source
    lines = [line for line in source.splitlines() if line and not line.startswith("#")]
    for node, line in zip(ast.parse(source).body, lines, strict=True):
        assert isinstance(node, ast.Assign)
        assert node.targets[0].id.isupper()
        ast.literal_eval(node.value)
        explanation = line.partition("  # ")[2]
        assert explanation
        assert "=" not in explanation, "papermill cannot parse it"
    assert "=" not in "".join(set(source.splitlines()) - set(lines)), "papermill takes it for one"


def test_papermill_finds_each_parameter(notebook):
    names = [node.targets[0].id for node in ast.parse(cells(notebook, "code")[1].source).body]
    [path] = [path for path in NOTEBOOKS.values() if nbformat.read(path, 4) == notebook]
    assert list(pipeline.parameters_of(path)) == names


def test_cells_are_short_and_prose_stands_around_them(notebook):
    sources = [cell.source for cell in cells(notebook, "code")]
    lengths = [len(source.splitlines()) for source in sources]
    assert statistics.median(lengths) <= MAX_MEDIAN
    assert lengths.pop(1) <= MAX_PARAMETERS
    assert max(lengths) <= MAX_LINES
    for text in ("sys.path", "\n!", "\n%"):
        assert not any(text in source for source in sources)
    prose = [cell.source for cell in cells(notebook, "markdown")]
    assert sum(text.count("\n## ") + text.startswith("## ") for text in prose) >= 3


def test_defines_one_function_at_most(notebook):
    trees = [ast.parse(cell.source) for cell in cells(notebook, "code")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    assert sum(isinstance(node, ast.FunctionDef) for node in nodes) <= 1
    assert not any(isinstance(node, ast.ClassDef) for node in nodes)


def test_ends_with_findings_and_a_link(notebook):
    prose = [cell.source for cell in cells(notebook, "markdown")]
    assert any("## What we found" in text for text in prose[-3:])
    assert ".ipynb)" in prose[-1] or notebook.cells[-1].cell_type == "code"


def test_each_notebook_links_to_the_next():
    for path, following in pairwise(NOTEBOOKS.values()):
        last = cells(nbformat.read(path, 4), "markdown")[-1].source
        assert f"({following.name})" in last


@pytest.fixture(scope="module")
def images(stand_in, tmp_path_factory):
    """The stand-in, numbered so that its default split is NEU-DET's: 9 a class train, 3 test."""
    folder = tmp_path_factory.mktemp("images")
    for file in stand_in.rglob("*_*.*"):
        label, number = file.stem.rsplit("_", 1)
        number = 10 * int(number) if int(number) < 10 else 240 + int(number)
        target = folder / file.parent.name / f"{label}_{number}{file.suffix}"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)
    shutil.copyfile(stand_in / runs.SYNTHETIC, folder / runs.SYNTHETIC)
    return folder


@pytest.fixture(scope="module")
def home(images, tmp_path_factory):
    """A home for runs; kernels find the images by themselves, and name runs by default."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEEL_HOME", str(home))
        patch.setenv("NEU_DET_DIR", str(images))
        yield home


def step(number, home, parameters):
    """Execute a notebook from a folder of its own; its copy is where the report looks for it."""
    run = home / "outputs" / parameters.get("RUN", "SYNTHETIC")
    (run / "notebooks").mkdir(parents=True, exist_ok=True)
    notebook = NOTEBOOKS[number]
    papermill.execute_notebook(
        str(notebook), str(run / "notebooks" / notebook.name), parameters,
        kernel_name="python3", progress_bar=False, cwd=str(home),
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(home):
    """The folder of a run that all notebooks stepped through, in order and with their defaults."""
    for number, parameters in STEPS:
        step(number, home, parameters)
    return home / "outputs" / "SYNTHETIC"


@pytest.mark.parametrize("number", [number for number in NOTEBOOKS if number != "05"])
def test_writes_what_its_first_cell_promises(run, number):
    intro = nbformat.read(NOTEBOOKS[number], 4).cells[0].source
    promised = set(re.findall(r"`([^`]+)`", intro.partition("**Writes**")[2]))
    promised -= {"models/"}  # of 06, which compares no pretrained network here
    assert promised
    assert [name for name in promised if not list(run.rglob(name.rstrip("/")))] == []


def test_the_models_are_folders_of_the_run(run):
    models = {file.parent.name for file in run.glob(f"*/{runs.MODEL_CARD}")}
    assert models == {"custom_cnn", PRETRAINED, HELD_OUT}
    for model in models:
        for name in (runs.KERAS_MODEL, runs.LITERT_MODEL, runs.REVIEW, runs.NOVELTY, runs.DRIFT):
            assert (run / model / name).exists()
    hidden = {file.name for file in run.rglob(".*") if file.is_file()}
    assert hidden <= {".lock", f".{runs.DIGESTS}.lock"}, "no temporary file is left"


def test_training_keeps_a_history_and_evaluates_the_test_part(run):
    split = pd.read_csv(run / runs.SPLIT)
    predictions = pd.read_csv(run / "custom_cnn" / runs.PREDICTIONS)
    assert sorted(predictions["path"]) == sorted(split.loc[split["part"] == "test", "path"])
    results = read_json(run / "custom_cnn" / runs.METRICS)
    hits = (predictions["label"] == predictions["predicted"]).mean()
    assert results["test"]["accuracy"] == pytest.approx(hits)
    assert pd.read_csv(run / "custom_cnn" / runs.HISTORY)["epoch"].tolist() == [1]


def test_a_frozen_backbone_has_its_linear_probe(run):
    assert pd.read_csv(run / PRETRAINED / runs.HISTORY)["epoch"].tolist() == [0]


def test_without_boxes_the_map_learns_from_pseudo_boxes(run):
    card = read_json(run / PRETRAINED / runs.MODEL_CARD)
    assert card["settings"]["pseudo_boxes"]
    assert card["boxed"]
    assert not read_json(run / "custom_cnn" / runs.MODEL_CARD)["settings"]["pseudo_boxes"]


def test_a_held_out_class_is_not_learned(run):
    card = read_json(run / HELD_OUT / runs.MODEL_CARD)
    assert "scratches" not in card["classes"]
    assert card["tta_views"] == 1
    assert "scratches" not in set(pd.read_csv(run / HELD_OUT / runs.PREDICTIONS)["label"])


def test_maps_are_measured_by_class_and_method(run):
    classes = pd.read_csv(run / "custom_cnn" / runs.CAM_CLASSES)
    assert len(classes) == 1 + 6
    methods = pd.read_csv(run / "custom_cnn" / runs.CAM_METHODS).set_index("method")
    assert {"Grad-CAM", "random weights", "image centre", "noise"} <= set(methods.index)


def test_the_models_of_the_run_are_compared(run):
    table = pd.read_csv(run / "comparison" / "comparison.csv").set_index("model")
    assert set(table.index) == {"lbp_svm", "custom_cnn"}
    costs = ["parameters", "file_mb", "latency_ms", "batch_ms", "memory_mb"]
    assert (table[costs] > 0).all(axis=None)


def test_robustness_covers_each_corruption_of_each_model(run):
    table = pd.read_csv(run / "robustness" / "robustness.csv")
    assert set(table["model"]) == {"mobilenet_v2", "custom_cnn"}
    assert len(table) == 2 * len(robustness.conditions())


def test_the_held_out_class_is_looked_for(run):
    table = pd.read_csv(run / "open_set" / "leave_one_class_out.csv")
    assert set(table["held_out_class"]) == {"scratches"}
    assert table["auroc"].between(0, 1).all()


def test_the_test_part_is_inspected(run):
    split = pd.read_csv(run / runs.SPLIT)
    table = pd.read_csv(run / "inspection" / runs.INSPECTIONS)
    assert table["path"].tolist() == split.loc[split["part"] == "test", "path"].tolist()


def test_maps_of_images_without_boxes_are_shown_but_not_measured(run, home):
    boxless = home / "outputs" / "boxless"
    shutil.copytree(run / "custom_cnn", boxless / "custom_cnn")
    for name in (runs.CAM_CLASSES, runs.CAM_METHODS):
        (boxless / "custom_cnn" / name).unlink()
    pd.read_csv(run / runs.SPLIT).assign(boxes="[]").to_csv(boxless / runs.SPLIT, index=False)
    step("04", home, {"RUN": "boxless", "HITS": 1, "COMPARED": 1, "METHOD": "Grad-CAM"})
    assert (boxless / "custom_cnn" / runs.CAM_SCORES).exists()
    assert not (boxless / "custom_cnn" / runs.CAM_METHODS).exists()
    assert "how well they point is not measured" in str(
        nbformat.read(boxless / "notebooks" / NOTEBOOKS["04"].name, 4)
    )


def test_everything_a_synthetic_run_writes_says_so(run):
    assert "SYNTHETIC" in (run / runs.SYNTHETIC).read_text()
    for file in [*run.rglob("*.json"), *run.rglob("*.csv")]:
        text = file.read_text()
        assert "SYNTHETIC" in text or len(text.splitlines()) == 1, file.name  # a table without rows


def test_the_report_folds_its_code_and_shows_no_error(run):
    report = pipeline.write_report(run).read_text()
    assert "SYNTHETIC" in report.partition("</title>")[0]
    assert report.count("<details") >= 20
    assert "Traceback (most recent call last)" not in report
    assert "What we found" in report


def test_a_notebook_names_what_it_misses(run, home):
    with pytest.raises(PapermillExecutionError, match=r"model\.json is missing: run 02_training"):
        step("03", home, {"MODEL": "none"})
