"""What `pip install` gives: the command, its models and notebooks, without a checkout."""

import shutil
import subprocess
import sys
import tomllib
import venv

import pytest

from nbutils.data.synthetic import encode_png
from nbutils.runs import ROOT

pytestmark = pytest.mark.slow
SOURCES = ("nbutils", "notebooks", "outputs/reference")
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--quiet", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy, since a build leaves files beside its sources."""
    copy = tmp_path_factory.mktemp("copy")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    folder = tmp_path_factory.mktemp("wheels")
    built = pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, copy)
    assert built.returncode == 0, built.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def steel(wheel, tmp_path_factory):
    """The command, installed with the base dependencies alone."""
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if pip("--python", python, "install", *project["dependencies"]).returncode:
        pytest.skip("the packages cannot be had")
    installed = pip("--python", python, "install", "--no-deps", wheel)
    assert installed.returncode == 0, installed.stderr
    return place / "bin" / "steel"


@pytest.fixture
def run(steel, tmp_path, gray):
    """Runs the command in an empty folder with an image."""
    (tmp_path / "image.png").write_bytes(encode_png(gray))

    def run(*arguments):
        command = [steel, *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return run


def test_the_base_predicts(run, tmp_path):
    done = run("predict", "image.png")
    assert done.returncode == 0, done.stderr
    assert "%" in done.stdout
    for model in (ROOT / "outputs" / "reference" / "custom_cnn", "custom_cnn"):
        done = run("predict", "--model", model, "image.png", "--json")
        assert done.returncode == 0, done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["image.png"]


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["run"], "notebooks"),
        (["demo"], "notebooks"),
        (["inspect", "image.png"], "train"),
        (["export", "custom_cnn"], "export"),
        (["bench"], "train"),
        (["predict", "image.png", "--backend", "keras"], "train"),
    ],
)
def test_other_commands_name_their_extra(run, tmp_path, arguments, extra):
    done = run(*arguments)
    assert done.returncode == 2
    sentence = f"steel {arguments[0]} needs the extra {extra}: pip install 'nbutils[{extra}]'\n"
    assert done.stderr.endswith(sentence)  # maybe after a progress bar
    assert [file.name for file in tmp_path.iterdir()] == ["image.png"]


def test_the_wheel_holds_notebooks_models_and_templates(wheel):
    from zipfile import ZipFile

    names = ZipFile(wheel).namelist()
    for folder, ending, count in (
        ("_notebooks", ".ipynb", len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))),
        ("_reference", "/model.tflite", 2),
        ("_reference", "/drift.npz", 2),
        ("apps/templates", ".html.j2", 1),
        ("", "py.typed", 1),
    ):
        held = [name for name in names if name.startswith(f"nbutils/{folder}")]
        assert sum(name.endswith(ending) for name in held) == count, (folder, ending)
    assert not [name for name in names if name.endswith((".png", ".csv"))]
