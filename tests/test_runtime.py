"""What an import brings along, and what the machine offers."""

import subprocess
import sys

import pytest

from nbutils import runtime

BASE = {"numpy", "PIL", "ai_edge_litert", "threadpoolctl"}  # what a prediction by LiteRT needs
LARGER = {"pandas", "scipy", "sklearn", "skimage", "matplotlib", "tqdm", "joblib", "tensorflow"}


def imported_by(code):
    """Return which of these libraries a fresh Python loads."""
    script = f"import sys; {code}; print(*({BASE | LARGER} & sys.modules.keys()))"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_package_loads_no_library():
    assert imported_by("import nbutils") == set()


@pytest.mark.parametrize(
    "code",
    [
        "from nbutils import load_predictor; load_predictor('reference/custom_cnn', 'litert')",
        "import nbutils.data.image_list",
    ],
)
def test_prediction_needs_the_base_install_alone(code):
    assert imported_by(code) <= BASE


def test_the_package_has_a_version_and_no_other_names():
    import nbutils

    assert nbutils.__version__
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        nbutils.predict  # noqa: B018


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_usable_cores_heed_the_quota_of_the_container(tmp_path, monkeypatch, files, cores):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    quotas = (tmp_path / "cpu.max", tmp_path / "cpu.cfs_quota_us")
    monkeypatch.setattr(runtime, "CGROUP_QUOTAS", quotas)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert runtime.usable_cores() == cores


def test_usable_cores_heed_the_environment(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    monkeypatch.setattr(runtime, "CGROUP_QUOTAS", ())
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert runtime.usable_cores() == 3
