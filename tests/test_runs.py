"""Runs, models and their files."""

import pytest

from nbutils import disk, runs
from nbutils.disk import UserError


def test_files_are_written_under_another_name_and_renamed(tmp_path):
    target = tmp_path / "a.csv"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), disk.atomic_write(target) as tmp:
        tmp.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "old"
    with disk.atomic_write(target) as tmp:
        tmp.write_text("new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        (runs.SPLIT, "01_data_exploration"),
        (runs.METRICS, "02_training"),
        (runs.BENCHMARK, "steel bench"),
    ],
)
def test_a_missing_file_names_what_writes_it(tmp_path, name, writer):
    with pytest.raises(UserError, match=f"{name} is missing: run {writer}"):
        runs.require(tmp_path / name)


@pytest.mark.parametrize("name", ["", "..", "../out", "/"])
def test_a_run_has_a_folder_of_its_own(outputs, name):
    with pytest.raises(UserError, match="is no name for a run"):
        runs.create_run(name)


def test_a_run_without_a_name_is_the_one_split_last(outputs):
    with pytest.raises(UserError, match="holds no run: run 01_data_exploration first"):
        runs.open_run()
    for name in ("one", "two"):
        (runs.create_run(name) / runs.SPLIT).touch()
    assert runs.open_run().name == "two"
    assert runs.open_run("one").name == "one"


def test_the_run_that_ships_is_opened_by_its_name_alone(outputs, monkeypatch):
    monkeypatch.setattr(runs, "SHIPPED", outputs / runs.REFERENCE)
    (runs.create_run(runs.REFERENCE) / runs.SPLIT).touch()
    with pytest.raises(UserError, match="holds no run"):
        runs.open_run()
    assert runs.open_run(runs.REFERENCE) == outputs / runs.REFERENCE


def test_models_are_found_by_run_and_name(outputs):
    first, second = (runs.create_model(runs.create_run("mill"), name) for name in ("a", "b"))
    (first / runs.KERAS_MODEL).touch()
    assert runs.find_model("mill") == runs.find_model("mill/a") == runs.find_model(first) == first
    (second / runs.LITERT_MODEL).touch()
    with pytest.raises(UserError, match="holds several models: name one of mill/a, mill/b"):
        runs.find_model("mill")
    assert runs.find_model("b", outputs / "mill") == second
    assert runs.find_model("mobilenet_v2") == runs.SHIPPED / "mobilenet_v2"
    with pytest.raises(UserError, match=r"no model 'nowhere'.*mill/a"):
        runs.find_model("nowhere")


def test_what_was_measured_with_a_model_goes_with_its_weights(outputs, tmp_path):
    run = runs.create_run("mill")
    model, other = (runs.create_model(run, name) for name in ("a", "b"))
    elsewhere = runs.create_model(runs.create_run("yard"), "a")
    for name, models in (("of_both", [model, other]), ("of_b", [other]), ("of_yard", [elsewhere])):
        runs.mark_measured(run / name, models)
        for file in (run / name / "summary.csv", run / name / "figures" / "curve.png"):
            file.parent.mkdir(exist_ok=True)
            file.touch()
    record = run / "of_both" / runs.INSPECTIONS
    record.touch()
    runs.discard_stale(model)
    left = {path.relative_to(run).as_posix() for path in run.rglob("*.*") if path.is_file()}
    kept = ("summary.csv", "figures/curve.png", runs.MEASURED)
    places = ("of_b", "of_yard")
    assert left == {
        "of_both/inspections.csv",
        *(f"{place}/{name}" for place in places for name in kept),
    }


def test_the_models_that_ship_are_found_wherever_they_lie(outputs, tmp_path, monkeypatch):
    shipped = tmp_path / "_reference"
    (shipped / "m").mkdir(parents=True)
    (shipped / "m" / runs.KERAS_MODEL).touch()
    monkeypatch.setattr(runs, "SHIPPED", shipped)
    assert runs.find_model("reference/m") == shipped / "m"
    assert runs.list_models() == ["reference/m"]


def test_a_model_is_not_named_as_another_folder_of_a_run(tmp_path):
    for name in ("images", "notebooks", "a\0b"):
        with pytest.raises(UserError, match="is no name for a model"):
            runs.create_model(tmp_path, name)
