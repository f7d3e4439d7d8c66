"""One writer for each folder, and disks that are full, read-only or closed."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nbutils import disk, pipeline, runs
from nbutils.disk import UserError


def test_the_second_process_is_told_who_has_the_folder(tmp_path, holder):
    first = holder(tmp_path / "run")
    (tmp_path / "run" / ".12345678.a.csv").touch()  # written half
    with pytest.raises(UserError, match=f"run is in use by process {first.pid}: wait"):
        disk.lock(tmp_path / "run")
    first.send_signal(signal.SIGKILL)
    first.wait()
    with disk.locked(tmp_path / "run"):
        assert [file.name for file in (tmp_path / "run").iterdir()] == [disk.LOCK]
        disk.lock(tmp_path / "run")  # twice is once
    with disk.locked(tmp_path / "run"):
        pass


def test_of_two_pipelines_one_declines(outputs, holder):
    holder(outputs / "run")
    with pytest.raises(UserError, match="is in use by process"):
        pipeline.run("run", only="01")
    assert [file.name for file in (outputs / "run").iterdir()] == [disk.LOCK]


@pytest.mark.parametrize("number", sorted(disk.REASONS))
def test_an_error_of_the_disk_is_a_sentence_and_the_old_file_stays(tmp_path, number):
    file = tmp_path / "a.csv"
    file.write_text("old")
    with pytest.raises(UserError, match=r"a\.csv: .*: (make|give|use)"), disk.atomic_write(file):
        raise OSError(number, os.strerror(number))
    with pytest.raises(UserError, match=r"a\.csv: "), disk.atomic_write(file) as tmp:
        tmp.write_text("half")
        raise OSError(number, os.strerror(number), str(tmp))
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_an_error_that_hdf5_gives_in_its_text(tmp_path):
    text = "flush failed (errno = 28, error message = 'No space left on device')"
    for kind in (OSError, RuntimeError):
        with pytest.raises(UserError, match="the disk is full"), disk.atomic_write(tmp_path / "a"):
            raise kind(text)
    with pytest.raises(RuntimeError, match="other"), disk.atomic_write(tmp_path / "a"):
        raise RuntimeError("other")


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match="Input/output"), disk.atomic_write(tmp_path / "a"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_full_disk(full):
    runs.write_json({"a": 1}, full / "a.json")
    (full / "rest").write_bytes(bytes(180_000))
    with pytest.raises(UserError, match=r"a\.json: the disk is full"):
        runs.write_json({"a": "b" * 200_000}, full / "a.json")
    assert runs.read_json(full / "a.json") == {"a": 1}
    assert sorted(file.name for file in full.iterdir()) == ["a.json", "rest"]


def test_a_full_output_is_a_sentence():
    if not Path("/dev/full").exists():
        pytest.skip("there is no full device here")
    code = "from nbutils import cli; cli.main()"
    command = [sys.executable, "-c", code, "run", "--help"]
    with Path("/dev/full").open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "the disk is full" in done.stderr and "Traceback" not in done.stderr
