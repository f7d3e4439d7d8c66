"""From bytes to predictions, and what can be wrong with a model's folder."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from nbutils import data, layouts, paths, predict
from nbutils.images import ImageError
from nbutils.paths import UserError
from nbutils.predict import load_predictor
from nbutils.predictor import Prediction
from nbutils.samples import png
from nbutils.trust import soften


@pytest.fixture(scope="module")
def predictor(trained):
    return load_predictor(trained)


def test_training_path_and_upload_path_agree(predictor, split):
    by_training = predictor.model.predict(data.read_images(split, predictor.size), verbose=0)
    files = [Path(path).read_bytes() for path in split["path"]]
    by_upload = [list(p.probabilities.values()) for p in predictor.predict(files)]
    calibrated = soften(by_training, predictor.trust.limits.temperature)
    assert np.abs(calibrated - np.array(by_upload)).max() < 1e-5


def test_one_by_one_and_together_agree(predictor, split):
    files = [Path(path).read_bytes() for path in split["path"]]
    together = predictor.predict(files)
    for file, other in zip(files[:3], together[:3], strict=True):
        assert predictor.predict([file])[0].probabilities == pytest.approx(other.probabilities)
    assert predictor.predict([]) == []


def test_prediction():
    found = Prediction({"a": 0.2, "b": 0.7, "c": 0.1})
    assert (found.label, found.confidence) == ("b", 0.7)
    assert found.top(2) == [("b", 0.7), ("a", 0.2)]


def test_errors_name_the_image(predictor, gray):
    with pytest.raises(ImageError, match="image 2 is empty"):
        predictor.predict([png(gray), b""])
    with pytest.raises(ImageError, match=r"strip\.png is empty"):
        predictor.predict([b""], ["strip.png"])


def test_models_are_found_by_name_then_among_the_references(trained, outputs):
    run, reference = outputs / "mine", outputs / "reference" / "theirs"
    shutil.copytree(trained, run)
    shutil.copytree(trained, reference)
    assert predict.find_model("mine") == run
    assert predict.find_model("theirs") == reference
    with pytest.raises(UserError, match="mine, theirs"):
        predict.find_model("other")


def change_card(folder):
    paths.write_json({"classes": ["dent", "hole"]}, folder / "model.json")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / "model.keras").unlink(), "no model.keras"),
        (lambda f: (f / "model.json").unlink(), "model.json is missing"),
        (lambda f: (f / "model.json").write_text("{"), "is not JSON"),
        (lambda f: (f / "model.keras").write_bytes(b"PK"), "damaged"),
        (lambda f: truncate(f / "model.keras"), "damaged"),
        (lambda f: corrupt(f / "model.keras"), "cannot be loaded"),
        (change_card, "tells 6 classes apart, but model.json beside it names 2"),
    ],
)
def test_spoiled_models(trained, tmp_path, spoil, words):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    spoil(folder)
    with pytest.raises(UserError, match=words) as caught:
        load_predictor(folder)
    assert "02_training" in str(caught.value)


def test_only_a_model_with_limits_that_knows_the_classes_is_judged(trained, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    assert predict.load_judged(folder, ["scratches", "patches"]).trust
    with pytest.raises(UserError, match="does not know dent"):
        predict.load_judged(folder, ["dent", "patches"])
    (folder / "limits.json").unlink()
    with pytest.raises(UserError, match="has no limits: run 02_training"):
        predict.load_judged(folder, ["patches"])


def test_a_model_with_code_is_refused(trained, tmp_path):
    from nbutils.backend import keras

    folder = tmp_path / "model"
    shutil.copytree(trained, folder)
    image = keras.Input((32, 32, 1))
    hidden = keras.layers.Lambda(lambda x: x + 1, output_shape=(32, 32, 1))(image)
    keras.Model(image, keras.layers.Flatten()(hidden)).save(folder / "model.keras")
    with pytest.raises(UserError, match="cannot be loaded"):
        load_predictor(folder)


def test_command_line(trained, gray, tmp_path, capsys):
    good, bad, gone = tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"
    good.write_bytes(png(gray))
    bad.write_bytes(b"text")
    arguments = [str(file) for file in (good, bad, gone)]
    assert predict.main([*arguments, "--model", str(trained), "--csv"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert float(rows[0]["confidence"]) == pytest.approx(
        max(float(rows[0][label]) for label in layouts.NEU_CLASSES)
    )
    assert "not a readable image" in rows[1]["error"]
    assert "No such file" in rows[2]["error"]
    assert predict.main([str(good), "--model", str(trained), "--top", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].count("%") == 2
    assert "review" in said[0] or "accept" in said[0]
    assert predict.main([str(good), "--model", "nowhere"]) == 2
    assert "no model.keras" in capsys.readouterr().err


def truncate(file):
    file.write_bytes(file.read_bytes()[:5000])


def corrupt(file):
    """Overwrite part of the weights, leaving the archive's directory intact."""
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    file.write_bytes(content)
