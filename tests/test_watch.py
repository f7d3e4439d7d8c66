"""A folder that is watched: images are inspected as they arrive, whatever happens meanwhile."""

import csv
import errno
import os
import signal
import subprocess
import threading
import time

import pytest
import serving

from nbutils import runs
from nbutils.data.synthetic import encode_png
from nbutils.inference import watch


def paths_of(folder):
    with (folder / runs.INSPECTIONS).open(newline="", encoding="utf-8") as lines:
        return [row["path"].rpartition("/")[2] for row in csv.DictReader(lines)]


@pytest.fixture
def looks(trained, tmp_path, monkeypatch):
    """What begins to watch the folder `arriving`, and gives its looks."""
    monkeypatch.setattr(watch, "PAUSE", 0)
    (tmp_path / "arriving").mkdir()
    return lambda: watch.watch(str(tmp_path / "arriving"), tmp_path / "run", trained)


def test_a_file_is_taken_once_it_no_longer_changes(looks, tmp_path, gray):
    content, place = encode_png(gray), tmp_path / "arriving"
    (place / "notes.txt").write_text("none")
    (place / "empty.png").touch()
    look = looks()
    assert next(look) == 0
    (place / "a.png").write_bytes(content[:100])
    assert next(look) == 0
    (place / "a.png").write_bytes(content)  # has grown since the last look
    assert next(look) == 0
    (place / "b.png").write_bytes(content)
    assert next(look) == 1
    assert next(look) == 1
    assert next(look) == 0
    look.close()
    assert paths_of(tmp_path / "run") == ["a.png", "b.png"]


def test_it_goes_on_where_it_was_killed(looks, tmp_path, gray):
    place, run = tmp_path / "arriving", tmp_path / "run"
    for name in "abc":
        (place / f"{name}.png").write_bytes(encode_png(gray))
    look = looks()
    assert [next(look) for _ in range(3)] == [0, 0, 3]
    look.close()
    content = (run / runs.INSPECTIONS).read_bytes()
    (run / runs.INSPECTIONS).write_bytes(content[:-20])  # the last row was being written
    with (run / runs.IMAGE_LIST).open("a") as lines:
        lines.write('"torn')
    (place / "d.png").write_bytes(encode_png(gray))
    look = looks()
    assert [next(look) for _ in range(3)] == [0, 0, 2]
    look.close()
    assert paths_of(run) == ["a.png", "b.png", "c.png", "d.png"]


def test_a_backlog_is_given_chunk_by_chunk(looks, tmp_path, gray, monkeypatch):
    monkeypatch.setattr(watch.batch, "CHUNK", 2)
    for name in "abc":
        (tmp_path / f"arriving/{name}.png").write_bytes(encode_png(gray))
    look = looks()
    assert [next(look) for _ in range(5)] == [0, 0, 2, 1, 0]
    look.close()


def test_a_folder_that_is_away_for_a_while_is_waited_for(looks, tmp_path, gray, capsys):
    place, away = tmp_path / "arriving", tmp_path / "away"
    look = looks()
    assert next(look) == 0
    place.rename(away)
    (away / "a.png").write_bytes(encode_png(gray))
    assert [next(look), next(look)] == [0, 0]
    away.rename(place)
    assert [next(look), next(look)] == [0, 1]
    look.close()
    assert capsys.readouterr().out.count("is looked at again") == 1


def test_images_that_go_away_before_they_are_read_are_taken_when_they_are_back(
    looks, tmp_path, gray, monkeypatch
):
    monkeypatch.setattr(watch.batch, "CHUNK", 2)
    place, away = tmp_path / "arriving", tmp_path / "away"
    for name in "abcd":
        (place / f"{name}.png").write_bytes(encode_png(gray))
    look = looks()
    assert [next(look) for _ in range(3)] == [0, 0, 2]
    place.rename(away)
    assert [next(look), next(look)] == [0, 0]
    away.rename(place)
    assert next(look) == 2
    look.close()
    with (tmp_path / "run" / runs.INSPECTIONS).open(newline="", encoding="utf-8") as lines:
        assert not any(row["error"] for row in csv.DictReader(lines))
    assert sorted(paths_of(tmp_path / "run")) == [f"{name}.png" for name in "abcd"]


def test_a_server_that_is_away_ends_no_watch(looks, tmp_path, gray, monkeypatch):
    (tmp_path / "arriving/a.png").write_bytes(encode_png(gray))
    look, stat = looks(), os.stat

    def stale(path, **kwargs):
        if str(path).endswith("a.png"):
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(path, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(watch.os, "stat", stale)
        assert [next(look), next(look)] == [0, 0]
    assert [next(look), next(look)] == [0, 1]
    look.close()


def test_images_dropped_by_a_thread_are_on_the_page_until_ctrl_c(trained, tmp_path, gray):
    place = tmp_path / "arriving"
    place.mkdir()

    def drop():
        for number in range(6):
            with (place / f"{number}.png").open("wb") as file:
                content = encode_png(gray)
                file.write(content[:50])
                file.flush()
                time.sleep(0.2)
                file.write(content[50:])

    command = [*serving.STEEL, "inspect", str(place), "--watch", "--model", str(trained)]
    process = subprocess.Popen(
        command,
        env=os.environ | {"STEEL_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    dropping = threading.Thread(target=drop)
    dropping.start()
    dropping.join()
    folder = tmp_path / "outputs" / "inspection_arriving"
    for _ in range(1200):
        if (folder / runs.INSPECTIONS).exists() and len(paths_of(folder)) == 6:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Stopped after 6 images" in said
    assert sorted(paths_of(folder)) == [f"{number}.png" for number in range(6)]
    assert "6 of 6 images" in (folder / "inspection.html").read_text(encoding="utf-8")
