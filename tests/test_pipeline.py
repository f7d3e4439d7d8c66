"""The command line around the notebooks."""

import os
import sys

import nbformat
import pytest

from nbutils import paths, pipeline
from nbutils.paths import UserError


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """Two small notebooks: the first writes a file, the second fails if told to."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    write(folder / "01_write.ipynb", "RUN = 'x'  # run\nCOUNT = 3  # of it", "print(RUN, COUNT)")
    parameters = "RUN = 'x'  # run\nFAIL = 0.5  # or not"
    write(folder / "02_fail.ipynb", parameters, "assert FAIL < 1, 'no!'")
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    monkeypatch.setattr(paths, "OUTPUTS", tmp_path / "outputs")
    return folder


def write(path, parameters, code):
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    cells = [first, nbformat.v4.new_code_cell(code)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


def test_parameters_reach_the_notebooks_that_declare_them(notebooks, capfd):
    assert pipeline.main(["--run", "one", "-p", "COUNT", "7", "-p", "FAIL", "0"]) == 0
    assert "one 7" in capfd.readouterr().out
    assert (paths.OUTPUTS / "one" / "report.html").exists()


def test_relative_paths_are_those_of_the_caller(notebooks, tmp_path, monkeypatch, capfd):
    write(notebooks / "01_write.ipynb", "RUN = 'x'  # run", "import os; print(os.getcwd())")
    monkeypatch.chdir(tmp_path)
    assert pipeline.main(["--run", "one", "--only", "01"]) == 0
    assert f"{tmp_path}\n" in capfd.readouterr().out


def test_copies_have_no_dead_bars(notebooks, capfd):
    code = "from tqdm.auto import tqdm\nprint(sum(tqdm(range(3))))"
    write(notebooks / "01_write.ipynb", "RUN = 'x'  # run", code)
    assert pipeline.main(["--run", "one", "--only", "01"]) == 0
    copy = (paths.OUTPUTS / "one" / "notebooks" / "01_write.ipynb").read_text()
    assert "3\\n" in copy and "widget" not in copy


def test_what_kernels_write_goes_to_the_log_and_stderr_comes_back(tmp_path, capfd):
    before = sys.stderr
    with pipeline._kernels_log(tmp_path / "kernels.log"):
        os.write(2, b"of a kernel")
        print("of the pipeline", file=sys.stderr)
    assert sys.stderr is before
    assert (tmp_path / "kernels.log").read_text() == "of a kernel"
    assert capfd.readouterr().err == "of the pipeline\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-p", "COUNTS", "7"], "no notebook of this run has COUNTS: choose from COUNT, FAIL, RUN"),
        (["-p", "COUNT", "many"], "COUNT takes int such as 3, not 'many'"),
        (["--only", "01,07"], "no notebook 07: choose from 01, 02"),
        (["--only", "01", "-p", "FAIL", "0"], "no notebook of this run has FAIL"),
        (["--run", "../out"], "is no name for a run"),
    ],
)
def test_wrong_arguments_run_nothing(notebooks, arguments, words, capfd):
    assert pipeline.main(arguments) == 1
    assert words in capfd.readouterr().err
    assert not list(paths.OUTPUTS.rglob("*.ipynb"))


def test_a_failing_notebook_stops_the_run_and_keeps_what_ran(notebooks, capfd):
    assert pipeline.main(["--run", "bad", "-p", "FAIL", "2"]) == 1
    said = capfd.readouterr().err
    assert "02_fail.ipynb failed in cell" in said
    assert "AssertionError: no!" in said
    executed = paths.OUTPUTS / "bad" / "notebooks"
    assert (executed / "01_write.ipynb").exists()
    assert (executed / "failed_02_fail.ipynb").exists()
    assert not (executed / "02_fail.ipynb").exists()
    assert pipeline.main(["--run", "bad"]) == 0
    assert not (executed / "failed_02_fail.ipynb").exists()


def test_files_are_written_beside_and_renamed(tmp_path):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), paths.replacing(target) as beside:
        beside.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    with paths.replacing(target) as beside:
        beside.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_require_names_the_notebook(tmp_path):
    with pytest.raises(UserError, match=r"b\.csv is missing: run 02_training"):
        paths.require(tmp_path / "b.csv", "02_training")
