"""The command line: `steel predict`, `steel inspect` and the others."""

import csv
import io
import json
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from nbutils import cli, runs
from nbutils.data.images import decode
from nbutils.data.synthetic import encode_png
from nbutils.inference.prediction import row_columns
from nbutils.inference.predictor import load_predictor

STEEL = [sys.executable, "-c", "from nbutils.cli import main; main()"]


def steel(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(cli.app, [str(one) for one in arguments])


@pytest.fixture
def images(tmp_path, gray):
    """A folder with a good image and a broken one."""
    folder = tmp_path / "shift"
    folder.mkdir()
    (folder / "a.png").write_bytes(encode_png(gray))
    (folder / "b.png").write_bytes(b"text")
    return folder


def test_a_table_of_files_goes_on_after_a_bad_one(images, trained):
    good, bad, gone = images / "a.png", images / "b.png", images / "c.png"
    done = steel("predict", bad, gone, good, "--model", trained, "--top", "2")
    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert "not a readable image" in lines[0]
    assert "is missing" in lines[1]
    assert lines[2].startswith(str(good)) and lines[2].count("%") == 2
    assert "review" in lines[2] or "accept" in lines[2]


def test_csv_has_the_row_of_every_table(images, trained):
    table = images.parent / "list.csv"
    pd.DataFrame({"path": ["shift/a.png"]}).to_csv(table, index=False)
    done = steel("predict", images, table, f"{images}/a*", "--model", trained, "--csv")
    assert done.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    classes = runs.read_json(trained / runs.MODEL_CARD)["classes"]
    assert list(rows[0]) == row_columns(classes)
    assert [row["error"] == "" for row in rows] == [True, False, True, True]
    shares = [float(rows[0][f"p_{label}"]) for label in classes]
    assert float(rows[0]["confidence"]) == pytest.approx(max(shares))


def test_json_is_an_object_a_line(images, trained):
    done = steel("predict", images / "a.png", "--model", trained, "--json")
    assert done.exit_code == 0
    [row] = map(json.loads, done.stdout.splitlines())
    assert row["decision"] in ("accept", "review")
    assert row["novelty"] > 0
    gray = decode((images / "a.png").read_bytes())
    found = load_predictor(trained).predict_image(gray).defects
    assert row["defects"] == [vars(defect) for defect in found]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "nowhere"], "nowhere is no file, no folder, and no pattern"),
        (["predict", "a.png", "--model", "nowhere"], "no model 'nowhere'"),
        (["predict", "a.png", "--csv", "--json"], "choose one"),
        (["inspect", "nowhere"], "nowhere is no file, no folder, and no pattern"),
        (["inspect", "*.nothing"], "holds no images"),
        (["predict", "a.png", "--backend", "none"], "backend 'none' is unknown"),
        (["run", "-p", "EPOCHS"], "-p takes a name and a value"),
        (["run", "-p", "NONE", "3"], "no notebook of this run has NONE"),
        (["run", "--data", "nowhere"], "nowhere is no folder"),
        (["run", "--only", "77"], "no notebook 77"),
        (["export", "nowhere"], "no model 'nowhere'"),
        (["bench", "nowhere"], "no model 'nowhere'"),
        (["demo", "--model", "nowhere"], "no model 'nowhere'"),
    ],
)
def test_mistakes_are_a_sentence_and_leave_nothing(outputs, arguments, words):
    done = steel(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(outputs.iterdir())


def test_a_missing_extra_is_named():
    code = "import sys; sys.modules['papermill'] = None; from nbutils.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "run"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "steel run needs the extra notebooks: pip install 'nbutils[notebooks]'\n"
    missing = ModuleNotFoundError(name="distributed.client")
    assert "nbutils[cluster]" in cli._missing_extra("inspect", missing)
    with pytest.raises(ModuleNotFoundError):
        cli._missing_extra("inspect", ModuleNotFoundError(name="nbutils.none"))


def test_an_inspection_lies_in_its_run(images, trained, outputs):
    options = ["--model", trained, "--workers", "1", "--max-review-rows", "2"]
    done = steel("inspect", images, *options)
    assert done.exit_code == 1, done.stderr
    folder = outputs / "inspection_shift"
    assert (folder / runs.INSPECTIONS).exists() and str(folder) in done.stdout
    assert steel("inspect", images / "a.png", "--run", "one", *options).exit_code == 0
    assert (outputs / "one" / "inspection" / runs.INSPECTIONS).exists()


def test_export_compares_with_keras(trained, outputs):
    done = steel("export", trained)
    assert done.exit_code == 0, done.stderr
    assert "litert" in done.stdout
    assert (trained / runs.EXPORT).exists()


def test_a_benchmark_says_that_it_is_of_synthetic_images(trained, outputs, monkeypatch):
    from nbutils.evaluation import latency

    seen = []

    def benchmark(model, files, rounds):
        seen.extend([model, rounds, *(file.read_bytes()[1:4] for file in files)])
        return pd.DataFrame({"backend": ["litert"], "latency_ms": [1.0]})

    monkeypatch.setattr(latency, "benchmark", benchmark)
    assert steel("bench", trained, "--rounds", "4").exit_code == 0
    assert seen == [trained, 4, *[b"PNG"] * 6]
    assert "SYNTHETIC" in (trained / runs.BENCHMARK).read_text()


def test_models_that_ship_are_not_written_to(trained, outputs, monkeypatch):
    from nbutils.evaluation import latency
    from nbutils.inference import export

    monkeypatch.setattr(runs, "SHIPPED", trained.parent)
    monkeypatch.setattr(latency, "benchmark", lambda *_: pd.DataFrame({"backend": ["litert"]}))
    monkeypatch.setattr(export, "export", lambda folder: pd.DataFrame({"to": [folder.name]}))
    (trained / runs.BENCHMARK).unlink(missing_ok=True)
    assert "ships and is not written to" in steel("export", trained).stderr
    assert steel("export", trained, "--run", "reference").exit_code == 0
    assert "litert" in steel("bench", trained).stdout
    assert not (trained / runs.BENCHMARK).exists()
    steel("bench", trained, "--run", "reference")
    assert (trained / runs.BENCHMARK).exists()


def test_the_version_and_an_example_for_each_command():
    assert steel("--version").stdout == f"steel {cli.metadata.version('nbutils')}\n"
    for command in cli.EXTRAS:
        shown = " ".join(steel(command, "--help").stdout.split())
        assert f"Example: steel {command} " in shown


def test_predictions_need_no_heavy_import(images):
    code = "import nbutils.cli, sys; print(*{'pandas', 'keras', 'tensorflow'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_closed_pipe_ends_in_silence(images, gray, trained):
    many = images / "many"
    many.mkdir()
    for number in range(300):
        (many / f"{number}.png").write_bytes(encode_png(gray))
    command = [*STEEL, "predict", str(many), "--model", str(trained), "--csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_an_interruption_is_a_sentence(images, trained, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (3000, 3000), np.uint8)
    (images / "c.png").write_bytes(encode_png(noise))
    table = tmp_path / "list.csv"
    pd.DataFrame({"path": ["shift/c.png"] * 1000}).to_csv(table, index=False)
    command = [*STEEL, "predict", str(table), "--model", str(trained)]
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what runs in background may not
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes, preexec_fn=heeds) as process:
        process.stdout.read(1)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"Interrupted.\n"
    assert process.returncode == 130


def test_a_set_of_twelve_bits_is_read_by_its_values_or_by_what_is_given(tmp_path, trained, gray):
    for number in range(10):
        values = gray.astype(np.uint16) * 16 + number
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    one = str(tmp_path / "0.png")
    assert "BIT_DEPTH" in steel("predict", one, "--model", trained).stdout
    assert steel("predict", one, "--model", trained, "--bit-depth", "12").exit_code == 0
    assert "choose one of" in steel("predict", one, "--bit-depth", "7").stderr
    done = steel("predict", tmp_path, "--model", trained)
    assert done.exit_code == 0 and "of 12 bits" in done.stderr
