"""Batch inspection: every image a row, whatever happens to files, processes, or workers."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbutils import (
    drift,
    drift_limits,
    inspect,
    inspection,
    inspection_page,
    limits,
    paths,
    worklist,
)
from nbutils.paths import UserError
from nbutils.predict import load_predictor
from nbutils.predictor import Predictor


def alone(function, items):
    """Do all in this process."""
    return map(function, items)


@pytest.fixture(scope="module")
def folder(stand_in, tmp_path_factory):
    """A tree of 144 SYNTHETIC images, a broken one, and a file that is none."""
    tree = tmp_path_factory.mktemp("shift")
    for number in (1, 2):
        shutil.copytree(stand_in / "IMAGES", tree / f"line_{number}")
    (tree / "line_1" / "cut.png").write_bytes(b"\x89PNG no more")
    (tree / "notes.txt").write_text("none")
    return tree


def rows_of(run):
    with (run / inspection.TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_tree_becomes_a_table(folder, trained, tmp_path):
    run = tmp_path / "run"
    inspection.inspect(str(folder), run, str(trained), "keras", alone)
    rows = rows_of(run)
    assert len(rows) == 145
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    [broken] = [row for row in rows if row["error"]]
    assert "cut.png" in broken["error"] and broken["label"] == "" and len(broken["sha256"]) == 64
    good = next(row for row in rows if not row["error"])
    found = load_predictor(trained).predict([Path(good["path"]).read_bytes()])[0]
    assert good["label"] == found.label
    assert float(good["confidence"]) == pytest.approx(found.confidence, rel=1e-4)
    assert good["verdict"] == found.verdict


def test_sources(folder, tmp_path):
    tree = list(worklist.find(str(folder)))
    assert len(list(worklist.find(str(folder / "line_2" / "*.jpg")))) == 72
    table = tmp_path / "asked.csv"
    pd.DataFrame({"path": tree[:3]}).to_csv(table, index=False)
    assert list(worklist.find(str(table))) == tree[:3]
    (tmp_path / "other.csv").write_text("name\n1.png\n")
    for wrong in (tmp_path / "other.csv", tmp_path / "none.csv", tmp_path / "none"):
        with pytest.raises(UserError, match=wrong.name):
            list(worklist.find(str(wrong)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        worklist.write(str(tmp_path / "empty"), tmp_path / "images.txt")


def test_tables_of_spreadsheets(tmp_path):
    marked, wrong = tmp_path / "marked.csv", tmp_path / "wrong.csv"
    marked.write_bytes("path\ngrün.png\n".encode("utf-8-sig"))
    assert list(worklist.find(str(marked))) == [str(tmp_path / "grün.png")]
    for content, words in (
        ("path\ngrün.png\n".encode("cp1252"), "no CSV file in UTF-8"),
        (b"line,path\n1,a.png\n2\n", "no path in line 3"),
    ):
        wrong.write_bytes(content)
        with pytest.raises(UserError, match=words):
            list(worklist.find(str(wrong)))


def test_a_folder_of_broken_files_is_a_table_of_errors(trained, tmp_path):
    broken, run = tmp_path / "broken", tmp_path / "run"
    broken.mkdir()
    (broken / "cut.png").write_bytes(b"\x89PNG no more")
    inspection.inspect(str(broken), run, str(trained), "keras", alone)
    [row] = rows_of(run)
    assert "cut.png" in row["error"]
    page = inspection_page.write(run, inspection_page.summarize(run, 5)).read_text()
    assert "cut.png is not a readable image" in page


def test_a_whole_inspection_says_so(folder, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    inspection.inspect("line_2", tmp_path / "run", str(trained), "keras", alone)
    assert not capsys.readouterr().out
    inspection.inspect(str(folder / "line_2"), tmp_path / "run", str(trained), "keras", alone)
    assert "All 72 images of the list are inspected" in capsys.readouterr().out
    monkeypatch.chdir(folder.parent)
    with pytest.raises(UserError, match="choose another RUN"):
        inspection.inspect("line_2", tmp_path / "run", str(trained), "keras", alone)


def test_a_model_trained_again_is_loaded_again(trained, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    first, _ = inspection._loaded(model, "keras", "one")
    assert inspection._loaded(model, "keras", "one")[0] is first
    assert inspection._loaded(model, "keras", "two")[0] is not first


def test_names_of_any_kind_are_one_row_each(trained, gray, tmp_path):
    from PIL import Image

    odd = tmp_path / "odd"
    odd.mkdir()
    names = ["a,b.png", 'quote".png', "line\nbreak.png", "grün.png", os.fsdecode(b"bytes\xff.png")]
    for name in names:
        with (odd / name).open("wb") as file:
            Image.fromarray(gray).save(file, "PNG")
    run = tmp_path / "run"
    inspection.inspect(str(odd), run, str(trained), "keras", alone)
    rows = rows_of(run)
    assert len(rows) == len(names)
    assert {row["error"] for row in rows} == {""}


def test_a_row_that_was_cut_is_written_again(folder, trained, tmp_path):
    run, whole = tmp_path / "run", tmp_path / "whole"
    inspection.inspect(str(folder), whole, str(trained), "keras", alone)
    shutil.copytree(whole, run)
    table = run / inspection.TABLE
    content = table.read_bytes()
    table.write_bytes(content[: len(content) // 2])
    inspection.inspect(str(folder), run, str(trained), "keras", alone)
    assert table.read_bytes() == content


def test_another_inspection_is_not_mixed_in(folder, trained, tmp_path):
    run = tmp_path / "run"
    inspection.inspect(str(folder), run, str(trained), "keras", alone)
    with pytest.raises(UserError, match="choose another RUN"):
        inspection.inspect(str(folder / "line_1"), run, str(trained), "keras", alone)


def test_killed_and_started_again_it_goes_on(folder, trained, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "nbutils.inspect", str(folder), "--run", str(run)]
    command += ["--model", str(trained), "--workers", "1", "--shown", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    table = run / inspection.TABLE
    while process.poll() is None and not (table.exists() and table.stat().st_size > 2000):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = table.read_bytes()
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    assert table.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    listed = [json.loads(line) for line in (run / inspection.LIST).read_text().splitlines()]
    assert [row["path"] for row in rows_of(run)] == listed
    page = (run / inspection_page.PAGE).read_text()
    assert "Review queue" in page and "cut.png" in page and page.count("data:image/png") == 2


class DyingTask(inspection.Task):
    """A task whose worker dies at its second chunk, once."""

    def __init__(self, mark, *model):
        super().__init__(*model)
        self.mark = mark

    def __call__(self, names):
        if "line_2" in names[0] and not Path(self.mark).exists():
            Path(self.mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(names)


def test_a_worker_that_dies_loses_nothing(folder, trained, tmp_path, monkeypatch):
    from nbutils import workers

    undisturbed, run, mark = tmp_path / "undisturbed", tmp_path / "run", tmp_path / "died"
    inspection.inspect(str(folder), undisturbed, str(trained), "keras", alone)
    monkeypatch.setattr(inspection, "Task", partial(DyingTask, str(mark)))
    with workers.started(count=1) as several:
        inspection.inspect(str(folder), run, str(trained), "keras", several)
    assert mark.exists()
    assert (run / inspection.TABLE).read_bytes() == (undisturbed / inspection.TABLE).read_bytes()


def test_there_are_as_many_workers_as_asked():
    from nbutils import workers

    for count in (1, 2):
        with workers.started(count=count) as several:
            assert len(set(several(_process, range(40)))) == count


def _process(_):
    time.sleep(0.05)
    return os.getpid()


def test_no_scheduler_is_said():
    from nbutils import workers

    with (
        pytest.raises(UserError, match="no scheduler answers"),
        workers.started("tcp://127.0.0.1:9"),
    ):
        pass


def test_errors_of_the_command_line_are_sentences(trained, tmp_path, capsys):
    arguments = [str(tmp_path / "none"), "--run", str(tmp_path / "run"), "--model", str(trained)]
    assert inspect.main([*arguments, "--workers", "1"]) == 2
    assert "correct it" in capsys.readouterr().err


class ByLevel:
    """A network that tells classes by their gray level, and embeds ten parts of the image."""

    def map(self, batches):
        for squares in batches:
            levels = squares.mean(axis=(1, 2, 3))[:, np.newaxis]
            chances = np.exp(-(((levels - 100 - 10 * np.arange(6)) / 8) ** 2)) + 1e-6
            parts = squares.reshape(len(squares), 10, -1).astype(float).mean(axis=2)
            yield np.hstack([chances / chances.sum(axis=1, keepdims=True), parts])


@pytest.fixture(scope="module")
def asked():
    """A predictor of `texture`, with limits."""
    predictor = Predictor(ByLevel(), [f"level {at}" for at in range(6)], "by level", 40)
    squares, numbers = texture(seed=0)
    costs = limits.Costs(miss=5, review=1, novel=0.01)
    both = (squares, numbers), (squares, numbers)
    predictor.trust = limits.fit(predictor, *both, costs, corruption=0, seed=0)
    return predictor


@pytest.fixture(scope="module")
def usual(asked):
    return drift_limits.fit(asked, *texture(seed=0), seed=0)


def texture(seed, gain=1.0):
    """Draw 240 squares of six gray levels that change a little from stretch to stretch."""
    rng = np.random.default_rng(seed)
    numbers = np.repeat(np.arange(6), 40)
    level = 100 + 10 * numbers + rng.normal(0, 1, 30).repeat(8)
    squares = level[:, np.newaxis, np.newaxis] + rng.normal(0, 20, (240, 40, 40))
    return np.clip(gain * squares, 0, 255).astype(np.uint8)[..., np.newaxis], numbers


def tried(asked, usual, squares):
    grays = list(squares[..., 0])
    return drift.test([drift_limits.described(asked, usual, grays)], usual)


def test_drift_is_told_from_none(asked, usual):
    quiet = tried(asked, usual, texture(seed=1)[0])
    flat = tried(asked, usual, texture(seed=1)[0] // 2 + 60)
    assert not quiet.attrs["drifted"]
    assert drift.words(quiet).startswith("No drift")
    assert flat.attrs["drifted"]
    assert "contrast lower" in drift.words(flat)


def test_the_mix_of_classes_is_no_drift(asked, usual):
    squares, numbers = texture(seed=2)
    assert not tried(asked, usual, squares[numbers == 3]).attrs["drifted"]


def test_few_images_are_not_tested(asked, usual):
    few = tried(asked, usual, texture(seed=1)[0][:5])
    assert few.attrs["drifted"] is None
    assert "too few" in drift.words(few)


def test_the_alarm_is_tried_on_batches(asked, usual):
    table = drift_limits.alarms(asked, usual, list(texture(seed=3)[0][..., 0]), batches=5, seed=0)
    rates = table.set_index(["family", "level"])["alarms"]
    assert rates["none", 0] <= 0.2
    assert rates["defocus", 3] == 1


def test_what_is_usual_is_kept(usual, tmp_path):
    usual.save(tmp_path)
    kept = drift.load(tmp_path)
    assert kept.limit == usual.limit
    assert (kept.means == usual.means).all()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / drift.FILE).write_bytes(b"no arrays")
    with pytest.raises(UserError, match="run 02_training again"):
        drift.load(broken)
    assert drift.load(paths.ROOT / "tests") is None
