"""One declaration of packages: conda, make and pip install the same."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement

from nbutils import cli
from nbutils.runs import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = [
    Requirement(line)
    for line in (ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.lstrip().startswith("#")
]


def test_the_lock_meets_every_declared_range():
    locked = {}
    for pin in LOCK:
        locked.setdefault(pin.name, []).append(re.search(r"==(.+)", str(pin.specifier))[1])
    extras = [text for group in EXTRAS.values() for text in group]
    for need in map(Requirement, [*PROJECT["dependencies"], *extras]):
        if need.name == PROJECT["name"]:
            continue
        assert need.name in locked, f"{need.name} is not locked: run make lock"
        for version in locked[need.name]:
            assert need.specifier.contains(version), f"{need} against {version}: run make lock"


def test_extras_build_on_each_other():
    within = [text for group in EXTRAS.values() for text in group if text.startswith("nbutils[")]
    assert {extra for text in within for extra in Requirement(text).extras} <= EXTRAS.keys()
    assert {*cli.EXTRAS.values(), "cluster"} <= EXTRAS.keys()


def test_conda_and_make_install_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    dependencies = environment["dependencies"]
    assert dependencies[-1] == {"pip": ["-r requirements.lock", "-e ."]}
    assert f"python{PROJECT['requires-python']}" in dependencies
    makefile = (ROOT / "Makefile").read_text()
    assert "install --quiet -r requirements.lock" in makefile
    assert "install --quiet --no-deps -e ." in makefile


def test_nothing_names_a_machine_or_a_registry():
    names = ("requirements.lock", "pyproject.toml", "setup.py", "environment.yml", "Makefile")
    for name in names:
        text = (ROOT / name).read_text()
        assert not re.search(r"(//[a-z]+\.|find-links|file:|/home/|/work/|/opt/)", text), name
