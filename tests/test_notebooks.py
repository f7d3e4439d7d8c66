"""The shape that all notebooks share, and all of them run on SYNTHETIC images."""

import ast
import statistics

import nbformat
import pandas as pd
import pytest
from conftest import read_json

from nbutils import paths, pipeline

NOTEBOOKS = list(pipeline.notebooks().values())
ORDER = [notebook.stem for notebook in NOTEBOOKS]


def cells(path, kind):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


@pytest.fixture(params=NOTEBOOKS, ids=ORDER)
def notebook(request):
    return request.param


def test_notebooks_have_numbers_of_their_own():
    assert len({name[:2] for name in ORDER}) == len(ORDER)


def test_committed_without_outputs(notebook):
    for cell in cells(notebook, "code"):
        assert cell.outputs == []
        assert cell.execution_count is None


def test_starts_with_a_title_and_what_it_reads_and_writes(notebook):
    intro = cells(notebook, "markdown")[0].source
    assert intro.startswith("# ")
    assert "**Reads**" in intro
    assert "**Writes**" in intro
    titles = [cell.source for cell in cells(notebook, "markdown") if cell.source.startswith("# ")]
    assert len(titles) == 1


def test_imports_come_first_and_once(notebook):
    kinds = (ast.Import, ast.ImportFrom)
    with_imports = [
        at
        for at, cell in enumerate(cells(notebook, "code"))
        if any(isinstance(node, kinds) for node in ast.walk(ast.parse(cell.source)))
    ]
    assert with_imports == [0]


def test_one_parameters_cell_of_explained_literals(notebook):
    tagged = [
        at
        for at, cell in enumerate(cells(notebook, "code"))
        if "parameters" in cell.metadata.get("tags", [])
    ]
    assert tagged == [1]
    source = cells(notebook, "code")[1].source
    for node, line in zip(ast.parse(source).body, source.splitlines(), strict=True):
        assert isinstance(node, ast.Assign)
        assert node.targets[0].id.isupper()
        ast.literal_eval(node.value)
        explanation = line.partition("  # ")[2]
        assert explanation
        assert "=" not in explanation, "papermill cannot parse it"


def test_cells_are_short_and_define_no_functions(notebook):
    sources = [cell.source for cell in cells(notebook, "code")]
    lengths = [len(source.splitlines()) for source in sources]
    assert statistics.median(lengths) <= 6
    assert max(lengths) <= 20
    for words in ("def ", "sys.path", "\n!", "\n%"):
        assert not any(words in source for source in sources)


def test_ends_with_findings_and_a_link(notebook):
    prose = [cell.source for cell in cells(notebook, "markdown")]
    assert any(text.startswith("## What we found") for text in prose[-3:])
    assert ".ipynb)" in prose[-1]


@pytest.fixture(scope="module")
def run(stand_in, tmp_path_factory):
    """The folder of a whole run on SYNTHETIC images, one epoch."""
    folder = tmp_path_factory.mktemp("outputs") / "tiny"
    arguments = ["--run", str(folder), "--data", str(stand_in), "-p", "EPOCHS", "1"]
    assert pipeline.main([*arguments, "-p", "SPLIT", "random"]) == 0
    return folder


def test_the_run_leaves_what_the_notebooks_promise(run):
    promised = [
        "audit.json",
        "split.csv",
        "model.keras",
        "model.json",
        "history.csv",
        "predictions.csv",
        "metrics.json",
        "errors.csv",
        "limits.json",
        "cam_scores.csv",
        "cam_methods.csv",
        "report.html",
    ]
    assert [name for name in promised if not (run / name).exists()] == []
    assert not list(run.rglob(".*")), "no temporary file is left"
    assert len(pd.read_csv(run / "history.csv")) == 1
    predictions = pd.read_csv(run / "predictions.csv")
    split = pd.read_csv(run / "split.csv")
    tested = split.loc[split["part"] == "test", "path"]
    assert sorted(predictions["path"]) == sorted(tested)
    results = read_json(run / "metrics.json")
    hits = (predictions["label"] == predictions["predicted"]).mean()
    assert results["test"]["accuracy"] == pytest.approx(hits)


def test_everything_a_synthetic_run_writes_says_so(run):
    assert "SYNTHETIC" in (run / "SYNTHETIC.txt").read_text()
    for file in [*run.glob("*.json"), *run.glob("*.csv")]:
        assert "SYNTHETIC" in file.read_text(), file.name
    assert "SYNTHETIC" in (run / "report.html").read_text().partition("</title>")[0]


def test_the_report_folds_its_code_and_shows_no_error(run):
    report = (run / "report.html").read_text()
    assert report.count("<details") >= 20
    assert "Traceback" not in report
    assert "What we found" in report


def test_a_rerun_of_one_notebook_reads_the_others_files(run):
    (run / "errors.csv").unlink()
    assert pipeline.main(["--run", str(run), "--only", "03"]) == 0
    assert (run / "errors.csv").exists()


def test_notebooks_name_what_they_miss(tmp_path, capfd):
    folder = tmp_path / "empty"
    assert pipeline.main(["--run", str(folder), "--only", "02"]) == 1
    said = capfd.readouterr().err
    assert "02_training.ipynb failed in cell" in said
    assert "audit.json is missing: run 01_data_exploration" in said
    assert (folder / "notebooks" / "failed_02_training.ipynb").exists()
    assert paths.is_synthetic(folder) is False
