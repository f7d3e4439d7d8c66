"""What ships: models of a fitting size, and prose that says what their files say."""

import io

import pytest
from PIL import Image

from nbutils import model_card, paths, reference, tables
from nbutils.predict import load_predictor

REFERENCE = paths.ROOT / "outputs" / "reference"


def test_the_readme_and_the_card_say_what_the_files_say():
    readme = paths.ROOT / "README.md"
    assert model_card.with_results(readme, REFERENCE) == readme.read_text(encoding="utf-8")
    card = (REFERENCE / "README.md").read_text(encoding="utf-8")
    assert model_card.card(REFERENCE) == card


def test_the_models_are_small_and_without_optimizer_state():
    files = list(REFERENCE.rglob("model.keras"))
    assert sum(file.stat().st_size for file in files) <= reference.LIMIT
    assert {file.parent.name for file in files} == set(tables.MODELS)


@pytest.mark.parametrize("name", tables.MODELS)
def test_each_model_answers(name, gray):
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    predictor = load_predictor(REFERENCE / name)
    [prediction] = predictor.predict([file.getvalue()])
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert predictor.views == paths.read_json(REFERENCE / name / "model.json", "")["views"]


def test_synthetic_images_are_timed_and_never_judged_by():
    assert not [file for file in REFERENCE.rglob("*") if "SYNTHETIC" in file.name]
    for file in [*REFERENCE.rglob("*.json"), *REFERENCE.rglob("*.csv")]:
        timed = file.name in ("bench.csv", "cost.csv", "demo.json")
        assert ("SYNTHETIC" in file.read_text(encoding="utf-8")) == timed


def test_a_synthetic_run_is_not_shipped(outputs):
    facts = {"data": {"name": "SYNTHETIC"}, "split": {"kind": "fixed"}}
    for name in {*tables.MODELS, *reference.SEEDS, *reference.SHARED}:
        (outputs / name).mkdir(parents=True)
        paths.write_json(facts, outputs / name / "audit.json")
    with pytest.raises(paths.UserError, match="is not of NEU-DET's fixed split"):
        reference.collect(outputs / "reference")


def test_no_shipped_file_names_a_machine():
    for file in [*REFERENCE.rglob("*.json"), *REFERENCE.rglob("*.csv")]:
        assert "/shared/" not in file.read_text(encoding="utf-8"), file
