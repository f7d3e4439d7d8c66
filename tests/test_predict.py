"""From bytes to predictions, and what can be wrong with a model's folder."""

import shutil
from pathlib import Path

import folders
import numpy as np
import pytest

from nbutils import runs
from nbutils.data import datasets
from nbutils.data.images import ImageError
from nbutils.data.synthetic import encode_png
from nbutils.disk import UserError
from nbutils.inference.prediction import Prediction, error_row, row_columns
from nbutils.inference.predictor import load_predictor
from nbutils.uncertainty.calibration import temperature_scale


@pytest.fixture(scope="module")
def predictor(trained):
    return load_predictor(trained, "keras")


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the trained model's folder, to damage."""
    return folders.copy_model(trained, tmp_path / "model")


def test_training_path_and_upload_path_agree(predictor, split):
    by_training = predictor.model.predict(datasets.read_images(split, predictor.size), verbose=0)
    files = [Path(path).read_bytes() for path in split["path"]]
    by_upload = [list(p.probabilities.values()) for p in predictor.predict(files)]
    calibrated = temperature_scale(by_training, predictor.policy.thresholds.temperature)
    assert np.array(by_upload) == pytest.approx(calibrated, abs=1e-5)


def test_one_by_one_and_together_agree(predictor, split):
    files = [Path(path).read_bytes() for path in split["path"]]
    together = predictor.predict(files)
    for file, other in zip(files[:3], together[:3], strict=True):
        assert predictor.predict([file])[0].probabilities == pytest.approx(other.probabilities)
    assert predictor.predict([]) == []


@pytest.mark.parametrize("count", [4, 8])
def test_augmented_predictions_are_means_over_turns_and_mirror_images(predictor, split, count):
    images = datasets.read_images(split[:3], predictor.size)
    augmented, embeddings, _ = predictor.forward(images, tta_views=count)
    turned = [np.rot90(images, quarter, axes=(1, 2)) for quarter in range(4)]
    mirrored = [turn[:, :, ::-1] for turn in turned]
    views = turned + mirrored if count == 8 else turned
    single = [predictor.forward(view, tta_views=1) for view in views]
    expected = np.mean([outputs.probabilities for outputs in single], axis=0)
    assert augmented == pytest.approx(expected, abs=1e-6)
    assert embeddings == pytest.approx(single[0].embeddings, rel=1e-4, abs=1e-5)


def test_a_prediction_as_a_row():
    prediction = Prediction({"a": 0.2, "b": 0.7, "c": 0.1}, 1.5, ("a", "b"), ("one", "two"))
    assert (prediction.label, prediction.confidence) == ("b", 0.7)
    assert prediction.top(2) == [("b", 0.7), ("a", 0.2)]
    row = prediction.to_row("strip.png", "a")
    assert list(row) == row_columns("abc")
    assert (row["label"], row["predicted"], row["decision"]) == ("a", "b", "review")
    assert (row["reasons"], row["prediction_set"]) == ("one; two", "a; b")
    assert list(error_row("strip.png", "is empty", "abc")) == row_columns("abc")
    assert Prediction({"a": 1.0}, reasons=()).decision == "accept"


def test_errors_name_the_image(predictor, gray):
    with pytest.raises(ImageError, match="image 2 is empty"):
        predictor.predict([encode_png(gray), b""])
    with pytest.raises(ImageError, match=r"strip\.png is empty"):
        predictor.predict([b""], ["strip.png"])


def test_models_are_found_by_name(trained, outputs, monkeypatch):
    for model in ("mine/one", "mine/two", "other/one", "shipped/theirs"):
        shutil.copytree(trained, outputs / model)
    monkeypatch.setattr(runs, "SHIPPED", outputs / "shipped")
    assert runs.find_model("mine/one") == outputs / "mine" / "one"
    assert runs.find_model("other") == outputs / "other" / "one"
    assert runs.find_model("theirs") == outputs / "shipped" / "theirs"
    assert runs.find_model("one", outputs / "mine") == outputs / "mine" / "one"
    with pytest.raises(UserError, match="holds several models: name one of mine/one, mine/two"):
        runs.find_model("mine")
    monkeypatch.chdir(outputs)
    assert runs.find_model("other") == outputs / "other" / "one"
    for odd in ("~nobody_of_this_name/x", "x" * 300):
        with pytest.raises(UserError, match="no model"):
            runs.find_model(odd)
    with pytest.raises(UserError, match=r"no model 'gone'.*other/one"):
        runs.find_model("gone")


def rename_classes(folder):
    runs.write_json({"classes": ["dent", "hole"]}, folder / runs.MODEL_CARD)


def truncate(folder):
    file = folder / runs.KERAS_MODEL
    file.write_bytes(file.read_bytes()[:5000])


def corrupt(folder):
    """Overwrite part of the weights, leaving the archive's directory intact."""
    file = folder / runs.KERAS_MODEL
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / runs.KERAS_MODEL).unlink(), r"model\.keras is missing"),
        (lambda folder: (folder / runs.MODEL_CARD).unlink(), r"model\.json is missing"),
        (lambda folder: (folder / runs.MODEL_CARD).write_text("{"), "is not JSON"),
        (lambda folder: (folder / runs.KERAS_MODEL).write_bytes(b"PK"), "damaged"),
        (truncate, "damaged"),
        (corrupt, "damaged"),
        (rename_classes, r"novelty\.npz is damaged \(model\.json names 2 classes\)"),
    ],
)
def test_damaged_models_name_the_cure(copy, damage, message):
    damage(copy)
    with pytest.raises(UserError, match=message) as caught:
        load_predictor(copy, "keras")
    assert "02_training" in str(caught.value)


def test_only_models_with_thresholds_that_know_the_classes_are_measured(copy, capsys):
    run, name = copy.parent, copy.name
    labels = ["patches", "scratches"]
    assert runs.find_models(name, run, labels) == {name: copy}
    with pytest.raises(UserError, match="no model knows dent, patches: run 02_training"):
        runs.find_models(name, run, ["patches", "dent"])
    assert f"{name} is left out: it does not know dent" in capsys.readouterr().out
    (copy / runs.REVIEW).unlink()
    with pytest.raises(UserError, match="no model knows"):
        runs.find_models(name, run, labels)
    assert "it has no thresholds, run 02_training to its end" in capsys.readouterr().out


def test_without_a_policy_every_prediction_is_reviewed(copy, split):
    (copy / runs.REVIEW).unlink()
    [prediction] = load_predictor(copy).predict([Path(split["path"][0]).read_bytes()])
    assert prediction.decision == "review"
    assert "run 02_training" in prediction.reasons[0]


def test_a_model_with_code_is_refused(copy):
    from nbutils.runtime import keras

    image = keras.Input((32, 32, 1))
    hidden = keras.layers.Lambda(lambda x: x + 1, output_shape=(32, 32, 1))(image)
    keras.Model(image, keras.layers.Flatten()(hidden)).save(copy / runs.KERAS_MODEL)
    with pytest.raises(UserError, match="cannot be loaded"):
        load_predictor(copy, "keras")
