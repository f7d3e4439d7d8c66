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
from PIL import Image

from nbutils import runs
from nbutils.disk import UserError
from nbutils.inference import batch, resumption
from nbutils.inference.prediction import row_columns
from nbutils.inference.predictor import load_predictor
from nbutils.uncertainty import drift


@pytest.fixture(scope="module")
def tree(stand_in, tmp_path_factory):
    """A tree of 144 SYNTHETIC images, a broken one, and a file that is none."""
    folder = tmp_path_factory.mktemp("shift")
    for number in (1, 2):
        shutil.copytree(stand_in / "IMAGES", folder / f"line_{number}")
    (folder / "line_1" / "cut.png").write_bytes(b"\x89PNG no more")
    (folder / "notes.txt").write_text("none")
    return folder


@pytest.fixture(scope="module")
def whole(tree, trained, tmp_path_factory):
    """An inspection of the tree."""
    folder = tmp_path_factory.mktemp("whole") / "inspection"
    batch.inspect([str(tree)], folder, trained, processes=1)
    return folder


def rows_of(folder):
    with (folder / runs.INSPECTIONS).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_same_rows(folder, other):
    """Compare tables but for the last digits, which depend on what is in a chunk."""
    tables = [pd.read_csv(place / runs.INSPECTIONS) for place in (folder, other)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-4)


def test_a_tree_becomes_a_table(whole, trained):
    rows, predictor = rows_of(whole), load_predictor(trained)
    assert len(rows) == 145
    assert list(rows[0]) == [*row_columns(predictor.classes), "defects", "sha256", *drift.PER_IMAGE]
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    [broken] = [row for row in rows if row["error"]]
    assert "cut.png" in broken["error"] and broken["predicted"] == ""
    assert len(broken["sha256"]) == 64
    good = next(row for row in rows if not row["error"])
    [prediction] = predictor.predict([Path(good["path"]).read_bytes()])
    expected = prediction.to_row(good["path"])
    for name, value in expected.items():
        same = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
        assert (float(good[name]) if isinstance(value, float) else good[name]) == same
    facts = runs.read_json(whole / runs.INSPECTION)
    assert (facts["images"], facts["backend"]) == (145, "litert")


def test_a_wrong_source_or_model_leaves_nothing_behind(tree, trained, tmp_path):
    folder = tmp_path / "inspection"
    damaged = tmp_path / "damaged.csv"
    damaged.write_text("path\na.png\n\n,\n")
    for source in (tmp_path / "none", tmp_path / "*.png", damaged):
        with pytest.raises(UserError, match=source.name.replace("*", r"\*")):
            batch.inspect([str(source)], folder, trained, processes=1)
    for model, backend in ((tmp_path / "none", None), (trained, "onnx")):
        with pytest.raises(UserError, match=r"none|onnx"):
            batch.inspect([str(tree)], folder, model, backend, processes=1)
    assert not folder.exists()


def test_several_sources_are_one_inspection(tree, trained, tmp_path):
    files = [str(tree / "line_2" / f"{name}_1.jpg") for name in ("crazing", "scratches")]
    batch.inspect(files, tmp_path / "run", trained, processes=1)
    assert [row["path"] for row in rows_of(tmp_path / "run")] == files
    assert runs.read_json(tmp_path / "run" / runs.INSPECTION)["sources"] == files


def test_a_synthetic_run_says_so_in_every_row(tree, trained, tmp_path):
    runs.mark_synthetic(tmp_path, "drawn")
    batch.inspect([str(tree / "line_1" / "cr*_1*.jpg")], tmp_path / "run", trained, processes=1)
    assert {row["notice"] for row in rows_of(tmp_path / "run")} == {"SYNTHETIC"}


def test_a_finished_inspection_says_so(whole, tree, trained, monkeypatch, capsys):
    monkeypatch.chdir(tree.parent)
    before = (whole / runs.INSPECTIONS).read_bytes()
    batch.inspect([tree.name], whole, trained, processes=1)
    assert "All 145 images of the list are inspected" in capsys.readouterr().out
    assert (whole / runs.INSPECTIONS).read_bytes() == before
    monkeypatch.chdir(tree)
    with pytest.raises(UserError, match="name another run"):
        batch.inspect([tree.name], whole, trained, processes=1)


def test_images_that_have_come_since_are_inspected_as_well(trained, gray, tmp_path, capsys):
    shift = tmp_path / "shift"
    shift.mkdir()
    for name in ("b.png", "._b.png", "a.png"):  # not in the order of the list
        if name == "a.png":
            batch.inspect([str(shift)], tmp_path / "run", trained, processes=1)
        Image.fromarray(gray).save(shift / name, "PNG")
    batch.inspect([str(shift)], tmp_path / "run", trained, processes=1)
    assert "New images that are inspected as well: 1" in capsys.readouterr().out
    assert [Path(row["path"]).name for row in rows_of(tmp_path / "run")] == ["b.png", "a.png"]
    batch.inspect([str(shift)], tmp_path / "run", trained, processes=1)
    assert "All 2 images of the list are inspected" in capsys.readouterr().out


def test_only_the_inspection_of_a_source_is_forgotten(whole, tree):
    before = (whole / runs.INSPECTION).read_bytes()
    resumption.forget(str(tree / "line_1"), whole)
    assert (whole / runs.INSPECTION).read_bytes() == before
    resumption.forget(str(tree), whole)
    assert not (whole / runs.INSPECTION).exists()
    (whole / runs.INSPECTION).write_bytes(before)


def test_a_strip_has_the_same_confidence_in_the_table(trained, tmp_path):
    strip = np.full((300, 900), 128, np.uint8)
    Image.fromarray(strip).save(tmp_path / "strip.png")
    batch.inspect([str(tmp_path / "strip.png")], tmp_path / "run", trained, processes=1)
    [row] = rows_of(tmp_path / "run")
    expected = load_predictor(trained).predict_image(strip)
    assert row["predicted"] == expected.label
    assert float(row["confidence"]) == pytest.approx(expected.confidence, rel=1e-4)


def test_another_inspection_is_not_mixed_in(whole, tree, trained):
    with pytest.raises(UserError, match="name another run"):
        batch.inspect([str(tree / "line_1")], whole, trained, processes=1)
    with pytest.raises(UserError, match=r"\(backend litert there, keras here\)"):
        batch.inspect([str(tree)], whole, trained, "keras", processes=1)


def test_a_model_that_is_trained_again_is_loaded_again(trained):
    first, _ = batch._loaded(trained, "litert", 1.0, "one")
    assert batch._loaded(trained, "litert", 1.0, "one")[0] is first
    assert batch._loaded(trained, "litert", 1.0, "two")[0] is not first


def test_names_of_any_kind_are_one_row_each(trained, gray, tmp_path):
    odd = tmp_path / "odd"
    odd.mkdir()
    names = ["a,b.png", 'quote".png', "line\nbreak.png", "grün.png", os.fsdecode(b"bytes\xff.png")]
    for name in names:
        with (odd / name).open("wb") as file:
            Image.fromarray(gray).save(file, "PNG")
    batch.inspect([str(odd)], tmp_path / "run", trained, processes=1)
    rows = rows_of(tmp_path / "run")
    assert len(rows) == len(names)
    assert {row["error"] for row in rows} == {""}


@pytest.mark.parametrize("kept", [0.5, 0.001, 0])
def test_a_row_that_was_cut_is_written_again(whole, tree, trained, tmp_path, kept):
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    table = folder / runs.INSPECTIONS
    content = table.read_bytes()[: int(kept * table.stat().st_size)]
    table.write_bytes(content)
    batch.inspect([str(tree)], folder, trained, processes=1)
    whole_rows = content[: content.rfind(b"\n") + 1]
    assert table.read_bytes().startswith(whole_rows)
    assert_same_rows(folder, whole)


def test_two_processes_write_the_same_table(whole, tree, trained, tmp_path):
    batch.inspect([str(tree)], tmp_path / "run", trained, processes=2)
    assert_same_rows(tmp_path / "run", whole)


def test_killed_and_started_again_it_goes_on(whole, tree, trained, tmp_path):
    folder = tmp_path / "run"
    code = (
        "from pathlib import Path; from nbutils.inference import batch; batch.CHUNK = 4; "
        f"batch.inspect([{str(tree)!r}], Path({str(folder)!r}), {str(trained)!r}, processes=1)"
    )
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    table = folder / runs.INSPECTIONS
    while process.poll() is None and not (table.exists() and table.stat().st_size > 2000):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = table.read_bytes()
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    assert table.read_bytes().startswith(before[: before.rindex(b"\n") + 1])
    assert_same_rows(folder, whole)
    listed = [json.loads(line) for line in (folder / runs.IMAGE_LIST).read_text().splitlines()]
    assert [row["path"] for row in rows_of(folder)] == listed


predict_chunk = batch.predict_chunk


def die_once(mark, *arguments):
    """Die at a chunk of the second line, once; else predict it."""
    if "line_2" in arguments[-1][0] and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return predict_chunk(*arguments)


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that the worker writes before it dies."""
    mark = tmp_path / "died"
    monkeypatch.setattr(batch, "predict_chunk", partial(die_once, str(mark)))
    return mark


def test_files_of_which_none_can_be_read_have_their_rows(trained, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(batch.CHUNK + 1):
        (folder / f"{number}.png").write_bytes(b"\x89PNG no more")
    batch.inspect([str(folder)], tmp_path / "run", trained, processes=1)
    rows = rows_of(tmp_path / "run")
    assert len(rows) == batch.CHUNK + 1
    assert all(row["error"] and row["sha256"] for row in rows)


def test_images_of_a_source_that_is_away_are_not_done(whole, tree, trained, tmp_path, monkeypatch):
    read, chunks = batch.predict_chunk, []

    def predict_chunk(model, bits, paths):
        chunks.append(paths)
        if len(chunks) == 2:
            tree.rename(tmp_path / "away")
        return read(model, bits, paths)

    monkeypatch.setattr(batch, "predict_chunk", predict_chunk)
    with pytest.raises(UserError, match="is away or empty: run the same command again"):
        batch.inspect([str(tree)], tmp_path / "run", trained, processes=1)
    assert len(rows_of(tmp_path / "run")) == batch.CHUNK
    (tmp_path / "away").rename(tree)
    batch.inspect([str(tree)], tmp_path / "run", trained, processes=1)
    assert_same_rows(tmp_path / "run", whole)


def test_names_that_differ_in_a_line_end_alone_are_two_rows(trained, gray, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ("a b.png", "a\nb.png"):
        Image.fromarray(gray).save(folder / name)
    batch.inspect([str(folder)], tmp_path / "run", trained, processes=1)
    assert len({row["path"] for row in rows_of(tmp_path / "run")}) == 2


def test_a_worker_of_a_cluster_that_dies_loses_nothing(whole, tree, trained, tmp_path, mark):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        batch.inspect([str(tree)], tmp_path / "run", trained, scheduler=cluster.scheduler_address)
    assert mark.exists()
    assert_same_rows(tmp_path / "run", whole)


def test_a_process_that_dies_is_an_error_and_the_inspection_goes_on_after_it(
    whole, tree, trained, tmp_path, mark
):
    with pytest.raises(UserError, match="start again, with fewer processes"):
        batch.inspect([str(tree)], tmp_path / "run", trained, processes=2)
    assert mark.exists()
    batch.inspect([str(tree)], tmp_path / "run", trained, processes=2)
    assert_same_rows(tmp_path / "run", whole)


def test_a_scheduler_that_does_not_answer_is_an_error(tree, trained, tmp_path, monkeypatch):
    def refuse(address, timeout):
        raise OSError(f"timed out after {timeout}")

    monkeypatch.setattr("distributed.Client", refuse)
    with pytest.raises(UserError, match="no scheduler answers at tcp://127"):
        batch.inspect([str(tree)], tmp_path / "run", trained, scheduler="tcp://127.0.0.1:9")
