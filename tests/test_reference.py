"""What ships: models of a fitting size, and prose that says what their files say."""

import io
import re
import subprocess

import nbformat
import pandas as pd
import pytest
from nbconvert.preprocessors import ExecutePreprocessor
from PIL import Image

from nbutils import runs
from nbutils.inference.predictor import load_predictor

MODELS = ("mobilenet_v2", "custom_cnn")
MAX_BYTES = 20 * 2**20  # of all networks that ship
NUMBER = re.compile(r"\d+\.\d+")


def shipped(*suffixes):
    """The files of the run that ships, without what `make reference` leaves on this machine."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", str(runs.SHIPPED)]
    try:
        listed = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout of git")
    files = [runs.ROOT / name for name in listed.stdout.splitlines()]
    return [file for file in files if file.suffix in suffixes and file.exists()]


def readme_table():
    """The rows of the README's table of results: cells by model, then by column."""
    text = (runs.ROOT / "README.md").read_text(encoding="utf-8").partition("## Results")[2]
    lines = text[text.index("| model |") :].split("\n\n")[0].splitlines()
    head, _, *rows = ([cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def rounded(text):
    """The numbers of a text, and how many decimals each has."""
    return [(float(number), len(number.partition(".")[2])) for number in NUMBER.findall(text)]


def agrees(text, values):
    """Tell whether a text has these numbers, to the decimals that it gives."""
    return rounded(text) == [
        (pytest.approx(round(value, decimals)), decimals)
        for value, (_, decimals) in zip(values, rounded(text), strict=True)
    ]


@pytest.mark.parametrize("model", MODELS)
def test_the_readme_says_what_the_files_say(model):
    row = readme_table()[model]
    test = runs.read_json(runs.SHIPPED / model / runs.METRICS)["test"]
    assert agrees(row["accuracy"], [100 * test["accuracy"]])
    assert agrees(row["95 % interval"], [100 * end for end in test["accuracy_interval"]])
    robustness = pd.read_csv(runs.SHIPPED / "robustness" / "summary.csv", index_col="model")
    assert agrees(row["corrupted"], [100 * robustness.loc[model, "all families"]])
    if (runs.SHIPPED / model / runs.BENCHMARK).exists():
        backends = pd.read_csv(runs.SHIPPED / model / runs.BENCHMARK, index_col="backend")
        assert agrees(row["one image"], [backends.loc["litert", "latency_ms"]])
    else:
        assert not rounded(row["one image"])


def test_the_page_of_results_is_what_its_notebook_shows():
    notebook = nbformat.read(runs.NOTEBOOKS / "reference_results.ipynb", 4)
    ExecutePreprocessor(timeout=600).preprocess(notebook)
    page = (runs.SHIPPED / "RESULTS.md").read_text(encoding="utf-8")
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert len(shown) >= 15
    for output in shown:
        text = output["data"]["text/markdown"] if "data" in output else output["text"]
        assert not [line for line in text.splitlines() if line not in page]


def test_the_models_are_small_and_without_optimizer_state():
    files = list(runs.SHIPPED.glob(f"*/{runs.KERAS_MODEL}"))
    assert sum(file.stat().st_size for file in files) <= MAX_BYTES
    assert {file.parent.name for file in files} >= set(MODELS)


@pytest.mark.parametrize("model", MODELS)
def test_each_model_predicts(model, gray):
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    predictor = load_predictor(f"{runs.REFERENCE}/{model}")
    [prediction] = predictor.predict([file.getvalue()])
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert predictor.tta_views == runs.read_json(runs.SHIPPED / model / "model.json")["tta_views"]


def test_synthetic_images_are_for_times_only():
    assert not [file for file in runs.SHIPPED.rglob("*") if "SYNTHETIC" in file.name]
    for file in shipped(".json", ".csv"):
        is_time = file.name in (runs.BENCHMARK, "cost.csv", "demo.json")
        assert ("SYNTHETIC" in file.read_text(encoding="utf-8")) == is_time, file


def test_no_shipped_file_names_a_machine():
    for file in shipped(".json", ".csv", ".md"):
        assert "/shared/" not in file.read_text(encoding="utf-8"), file
