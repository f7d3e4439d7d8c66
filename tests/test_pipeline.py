"""The notebooks run in order, headless, into one run, with one report."""

import base64
import json
import os

import nbformat
import pytest
from pages import EVIL, Page, is_escaped

from nbutils import pipeline, runs
from nbutils.data import datasets
from nbutils.data.synthetic import encode_png
from nbutils.disk import UserError


@pytest.fixture
def notebooks(tmp_path, outputs, monkeypatch):
    """Two small notebooks: the first writes a file, the second fails if its parameter says so."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    parameters = "RUN = ''  # run\nDATA_DIR = None  # images\nCOUNT = 3  # of it"
    write(folder / "01_write.ipynb", parameters, "print(RUN, COUNT)")
    parameters = "RUN = ''  # run\nFAIL = 0.5  # or not"
    write(folder / "02_fail.ipynb", parameters, "assert FAIL < 1, 'no!'\nprint('went well')")
    monkeypatch.setattr(runs, "NOTEBOOKS", folder)
    return folder


def write(path, parameters, *cells):
    first = nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    others = [
        nbformat.v4.new_markdown_cell(cell.removeprefix("md:"))
        if cell.startswith("md:")
        else nbformat.v4.new_code_cell(cell)
        for cell in cells
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[first, *others], metadata=kernel), path)


def test_parameters_reach_the_notebooks_that_declare_them(notebooks, capfd):
    report = pipeline.run("one", parameters={"COUNT": "7", "FAIL": "0"})
    assert report == runs.OUTPUTS / "one" / "report.html"
    printed = capfd.readouterr()
    assert "one 7" in printed.out
    assert not printed.err


def test_a_run_is_named_after_its_data(notebooks, tmp_path):
    data = tmp_path / "mill_2"
    data.mkdir()
    assert pipeline.run(data=str(data), only="01").parent == runs.OUTPUTS / "mill_2"


def test_a_second_folder_of_the_same_name_needs_a_run_of_its_own(notebooks, tmp_path):
    write(notebooks / "01_write.ipynb", "RUN = ''  # run\nDATA_DIR = ''  # data", "print(RUN)")
    (runs.OUTPUTS / "images").mkdir()
    facts = {"data": {"folder": str(tmp_path / "one/images")}}
    (runs.OUTPUTS / "images" / runs.AUDIT).write_text(json.dumps(facts))
    for place in ("one", "two"):
        (tmp_path / place / "images").mkdir(parents=True)
    pipeline.run(data=str(tmp_path / "one/images"), only="01")
    with pytest.raises(UserError, match=r"the run images is of .*one/images, not of .*two/images"):
        pipeline.run(data=str(tmp_path / "two/images"), only="01")


def test_without_the_notebook_that_splits_the_last_run_goes_on(notebooks, monkeypatch):
    with pytest.raises(UserError, match="holds no run"):
        pipeline.run(only="02")
    for name, time in (("older", 1), ("newer", 2)):
        split = runs.create_run(name) / runs.SPLIT
        split.touch()
        os.utime(split, (time, time))
    assert pipeline.run(only="02").parent.name == "newer"


def test_a_run_keeps_its_data(notebooks, capfd):
    write(notebooks / "01_write.ipynb", "RUN = ''  # run\nDATA_DIR = ''  # data", "print(DATA_DIR)")
    for run, folder in (("mine", "/images/of/mine"), ("other", "")):
        (runs.OUTPUTS / run).mkdir()
        if folder:
            facts = {"data": {"folder": folder}}
            (runs.OUTPUTS / run / runs.AUDIT).write_text(json.dumps(facts))
    pipeline.run("mine", only="01")
    assert "\n/images/of/mine\n" in capfd.readouterr().out
    pipeline.run("mine", only="01", parameters={"DATA_DIR": "/elsewhere"})
    assert "\n/elsewhere\n" in capfd.readouterr().out
    pipeline.run("other", only="01")
    assert "/images/of/mine" not in capfd.readouterr().out


@pytest.mark.parametrize("name", ["reference", "cache"])
def test_data_do_not_name_a_run_as_what_is_there(notebooks, tmp_path, name):
    write(notebooks / "01_write.ipynb", "RUN = ''  # run\nDATA_DIR = ''  # data", "print(RUN)")
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"{name} is a folder of outputs/ already"):
        pipeline.run(data=str(tmp_path / name), only="01")


def test_quick_runs_two_epochs(notebooks, capfd):
    write(
        notebooks / "01_write.ipynb",
        "EPOCHS = 9  # x\nHEAD_EPOCHS = 8  # x",
        "print(EPOCHS, HEAD_EPOCHS)",
    )
    pipeline.run("one", only="01", quick=True)
    assert "\n2 2\n" in capfd.readouterr().out


def test_the_model_of_a_name_is_that_of_the_notebooks_after_it(notebooks, capfd):
    write(notebooks / "01_write.ipynb", "MODEL = 'a'  # x\nNAME = ''  # x", "print(MODEL, NAME)")
    write(notebooks / "02_fail.ipynb", "MODEL = 'a'  # x", "print(MODEL)")
    pipeline.run("one", parameters={"MODEL": "b", "NAME": "c"})
    printed = capfd.readouterr().out
    assert "\nb c\n" in printed and "\nc\n" in printed


def test_relative_paths_are_those_of_the_caller(notebooks, tmp_path, monkeypatch, capfd):
    write(notebooks / "01_write.ipynb", "RUN = ''  # run", "import os; print(os.getcwd())")
    monkeypatch.chdir(tmp_path)
    pipeline.run("one", only="01")
    assert f"{tmp_path}\n" in capfd.readouterr().out


def test_copies_have_no_dead_bars(notebooks):
    code = "from tqdm.auto import tqdm\nprint(sum(tqdm(range(3))))"
    write(notebooks / "01_write.ipynb", "RUN = ''  # run", code)
    pipeline.run("one", only="01")
    copy = (runs.OUTPUTS / "one" / "notebooks" / "01_write.ipynb").read_text()
    assert "3\\n" in copy and "widget" not in copy


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parameters": {"SIZES": "7"}}, "has SIZES: choose from COUNT, DATA_DIR, FAIL, RUN"),
        ({"parameters": {"COUNT": "many"}}, "COUNT takes int such as 3, not 'many'"),
        ({"parameters": {"COUNT": "-1"}}, "COUNT takes 0 to 4294967295, not -1"),
        ({"only": "01,07"}, "no notebook 07: choose from 01, 02"),
        ({"only": "01", "parameters": {"FAIL": "0"}}, "no notebook of this run has FAIL"),
        ({"name": "../out"}, "is no name for a run"),
        ({"data": "nowhere"}, "nowhere is no folder"),
    ],
)
def test_wrong_arguments_write_nothing(notebooks, arguments, words):
    with pytest.raises(UserError, match=words):
        pipeline.run(**{"name": "one", **arguments})
    assert not list(runs.OUTPUTS.iterdir())


def test_a_failing_notebook_stops_the_run_and_keeps_what_ran(notebooks):
    executed = runs.OUTPUTS / "bad" / "notebooks"
    with pytest.raises(UserError, match=r"02_fail\.ipynb failed in cell 3: AssertionError: no!"):
        pipeline.run("bad", parameters={"FAIL": 2})
    assert (executed / "01_write.ipynb").exists()
    assert (executed / "failed_02_fail.ipynb").exists()
    assert not (executed / "02_fail.ipynb").exists()
    pipeline.run("bad")
    assert not (executed / "failed_02_fail.ipynb").exists()


def test_a_copy_that_a_kill_left_half_is_removed(notebooks):
    executed = runs.create_run("one") / "notebooks"
    executed.mkdir()
    (executed / ".12345678.01_write.ipynb").write_text("half")
    pipeline.run("one", only="01")
    assert [file.name for file in executed.iterdir()] == ["01_write.ipynb"]


def test_a_kernel_that_dies_is_a_sentence(notebooks):
    write(notebooks / "01_write.ipynb", "RUN = ''  # run", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(UserError, match=r"01_write\.ipynb failed since its kernel died"):
        pipeline.run("one", only="01")


@pytest.fixture
def page(outputs, gray):
    """The report of executed notebooks with a figure, an empty section, and links."""
    run = runs.create_run("a<b>")
    test = {"accuracy": 0.9875, "accuracy_interval": [0.97, 0.995], "images": 80}
    test |= {"balanced_accuracy": 0.9123, "macro_f1": 0.9321}
    runs.write_json({"test": test}, runs.create_model(run, "m<i>") / runs.METRICS)
    executed(
        run / "notebooks" / "01_write.ipynb",
        "# Write <it>\n\nFor [the next](02_fail.ipynb) and [another](09_none.ipynb).",
        "## Imports",
        nbformat.v4.new_code_cell("import os"),
        "## What `it` looks like",
        shown("display_data", {"image/png": png(gray), "text/plain": "<Figure size 1x1>"}),
        shown("execute_result", {"text/plain": "PosixPath('here')"}),
        shown("display_data", {"text/markdown": f"**{EVIL}** of [data](javascript:alert(1))"}),
        shown("stream", text=EVIL),
    )
    executed(run / "notebooks" / "02_fail.ipynb", "# Fail", shown("stream", text="went well"))
    return pipeline.write_report(run).read_text(encoding="utf-8")


def png(gray):
    return base64.b64encode(encode_png(gray)).decode()


def executed(path, *cells):
    path.parent.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_markdown_cell(one) if isinstance(one, str) else one for one in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def shown(kind, data=None, **values):
    output = nbformat.v4.new_output(kind, data, **values)
    return nbformat.v4.new_code_cell("some_code()", outputs=[output])


def test_the_report_opens_on_results_and_contents(page):
    opening = page.partition("<main>")[0]
    assert "<title>a&lt;b&gt;</title>" in opening
    for words in ("m&lt;i&gt;", "98.75%", "97.0% to 99.5%", "91.23%", "93.21%", "Write &lt;it&gt;"):
        assert words in opening
    anchors = [part.partition('"')[0] for part in opening.split('href="#')[1:]]
    assert len(anchors) == 3
    assert all(f'id="{anchor}"' in page for anchor in anchors)


def test_the_report_shows_what_says_something(page):
    assert "Imports" not in page
    assert "PosixPath" not in page and "Figure size" not in page
    assert 'alt="What it looks like"' in page
    assert page.count("<details>") == 4
    assert "went well" in page


def test_the_report_takes_no_name_for_html(page):
    assert is_escaped(page)
    read = Page(page)
    assert read.text.count(EVIL) == 2
    assert not [link for link in read.attributes["href"] if link.startswith("javascript")]


def test_the_report_links_within_itself(page):
    assert '<a href="#cell-id=02_fail">the next</a>' in page
    assert "another" in page and ".ipynb" not in page


def test_a_run_may_be_named_as_a_parameter_but_not_twice(notebooks):
    given = {"COUNT": "7", "FAIL": "0", "RUN": "two"}
    assert pipeline.run(parameters=given) == runs.OUTPUTS / "two" / "report.html"
    with pytest.raises(UserError, match="named twice, one and two"):
        pipeline.run("one", parameters=given)


def test_the_report_says_which_notebooks_are_older_than_what_they_build_upon(outputs):
    run = runs.create_run("one")
    for age, name in ((300, "03_errors"), (200, "01_data"), (100, "02_training"), (0, "04_maps")):
        file = run / "notebooks" / f"{name}.ipynb"
        executed(file, f"# {name}", shown("stream", text="went well"))
        os.utime(file, (1e9 - age, 1e9 - age))
    page = pipeline.write_report(run).read_text(encoding="utf-8")
    assert page.count("Executed before the") == 1
    assert "Executed before the 01_data and the 02_training above" in page


def test_the_report_of_a_synthetic_run_says_so(notebooks):
    runs.mark_synthetic(runs.create_run("one"), "drawn")
    page = pipeline.run("one", only="01").read_text(encoding="utf-8")
    assert "<title>one (SYNTHETIC images)</title>" in page


def test_the_usual_data_is_searched_for_once(notebooks, monkeypatch, tmp_path):
    source = datasets.Source(tmp_path, "by the test", "NEU-DET")
    monkeypatch.setattr(datasets, "find_source", lambda folder: source)
    assert pipeline.run(only="01").parent.name == "NEU-DET"
