"""Parameters that the Makefile and the documentation name are parameters of the notebooks."""

import re

import pytest

from nbutils import pipeline
from nbutils.runs import ROOT

FILES = [ROOT / "Makefile", ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
VARIABLE = re.compile(r"^(\w+) :?= ((?:.*\\\n)*.*)$", re.MULTILINE)


def commands(text):
    """Return what follows each `steel run`, with the Makefile's variables filled in."""
    variables = dict(VARIABLE.findall(text))
    text = re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)
    text = text.replace("$(STEEL)", ".venv/bin/steel").replace("\\\n", " ")
    return re.findall(r"\bsteel run\b([^\n`#|;]*)", text)


def named(text):
    return re.findall(r"(?<![\w-])-p +([A-Z_]+)\b", text)


def declared(only=""):
    return {name for file in pipeline.select(only) for name in pipeline.parameters_of(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_commands_name_parameters_of_their_notebooks(file):
    for command in commands(file.read_text(encoding="utf-8")):
        only = re.search(r"--only +([\d,]+)", command)
        unknown = set(named(command)) - declared(only[1] if only else "")
        assert not unknown, f"steel run{command}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_prose_names_parameters_of_some_notebook(file):
    every = declared(",".join(pipeline.notebooks()))
    assert set(named(file.read_text(encoding="utf-8"))) <= every


def test_the_makefile_has_commands_to_check():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = [name for command in commands(text) for name in named(command)]
    assert {"HEAD_EPOCHS", "HELD_OUT_CLASS", "CNN_MODELS"} <= set(found)
