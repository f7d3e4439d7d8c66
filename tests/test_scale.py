"""Images of another camera: `--scale` brings their pixels to those of the training images."""

import csv
import json
from pathlib import Path

import folders
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from nbutils import cli, runs
from nbutils.apps import inspection_page, server
from nbutils.apps.panel import Panel
from nbutils.data import synthetic
from nbutils.data.images import decode, resize
from nbutils.disk import UserError
from nbutils.inference import batch, watch
from nbutils.inference.predictor import load_predictor

MODEL = f"{runs.REFERENCE}/mobilenet_v2"


def enlarge(gray, times):
    height, width = gray.shape
    size = round(width * times), round(height * times)
    return np.asarray(Image.fromarray(gray).resize(size, Image.Resampling.BILINEAR))


@pytest.fixture
def folder(tmp_path):
    """A folder with a drawn image, twice as large as the training images."""
    (tmp_path / "camera").mkdir()
    _, content = synthetic.example_files(seed=0)[0]
    Image.fromarray(enlarge(decode(content), 2)).save(tmp_path / "camera" / "a.png")
    return tmp_path / "camera"


@pytest.fixture
def unscaled(tmp_path):
    """A model that does not know the size of its training images."""
    copy = folders.copy_model(runs.find_model(MODEL), tmp_path / "unscaled")
    card = runs.read_json(copy / runs.MODEL_CARD)
    (copy / runs.MODEL_CARD).write_text(json.dumps(card | {"image_size": None}))
    return copy


def facts_of(folder):
    return runs.read_json(folder / runs.INSPECTION)


def test_an_image_twice_as_large_is_predicted_as_if_it_were_half_as_large():
    usual, halved = load_predictor(MODEL), load_predictor(MODEL, scale=0.5)
    large = [enlarge(decode(content), 2) for _, content in synthetic.example_files(seed=0)]
    small = [resize(gray, usual.window[0])[..., 0] for gray in large]
    for gray, fitted in zip(large, small, strict=True):
        expected, found = usual.predict_image(fitted), halved.predict_image(gray)
        assert found.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        assert found.novelty == pytest.approx(expected.novelty, rel=1e-5)
        assert found.defect_map == pytest.approx(expected.defect_map, abs=1e-5)
        boxes = [(one.label, 2 * one.xmin, 2 * one.area) for one in expected.defects]
        edges = [(one.label, one.xmin, one.area / 2) for one in found.defects]
        assert edges == [(name, pytest.approx(x), pytest.approx(a)) for name, x, a in boxes]
        assert usual.predict_image(gray).defect_map.shape > found.defect_map.shape, "in windows"


@pytest.mark.parametrize("model", ["mobilenet_v2", "custom_cnn"])
def test_a_strip_of_noise_is_reviewed(model):
    rng = np.random.default_rng(0)
    predictor = load_predictor(f"{runs.REFERENCE}/{model}")
    for deviation in (4, 12, 40):
        noise = np.clip(rng.normal(120, deviation, (500, 900)), 0, 255).astype(np.uint8)
        assert predictor.predict_image(noise).decision == "review"


@pytest.mark.parametrize("model", ["mobilenet_v2", "custom_cnn"])
def test_plain_pictures_of_any_size_and_level_are_reviewed(model):
    rng = np.random.default_rng(0)
    predictor = load_predictor(f"{runs.REFERENCE}/{model}")
    sizes = rng.integers(64, 420, (40, 2))
    grays = [np.full(size, rng.integers(256), np.uint8) for size in sizes]
    assert {each.decision for each in predictor.predict_images(grays)} == {"review"}


def test_an_image_smaller_than_a_window_is_completed_to_one():
    _, content = synthetic.example_files(seed=0)[1]
    gray = decode(content)
    halved = load_predictor(MODEL, scale=0.5)
    mirrored = np.pad(gray, [(0, side) for side in gray.shape], mode="symmetric")
    expected, found = halved.predict_image(mirrored), halved.predict_image(gray)
    assert found.novelty == pytest.approx(expected.novelty, rel=1e-4)
    assert found.defect_map.shape[0] == pytest.approx(halved.decoder.grid / 2, abs=1)
    assert all(each.xmax <= gray.shape[1] and each.ymax <= gray.shape[0] for each in found.defects)


@pytest.mark.parametrize("scale", [0, -1, 0.04, 20.1, float("nan"), float("inf")])
def test_scales_of_no_camera_are_a_sentence_and_leave_nothing(scale, folder, outputs):
    for command in (["predict"], ["inspect"], ["inspect", "--watch"]):
        done = CliRunner().invoke(cli.app, [*command, str(folder), f"--scale={scale}"])
        assert done.exit_code == 2
        assert done.stderr == f"scale {scale:g} is out of range: choose one from 0.05 to 20\n"
    assert not list(outputs.iterdir())
    with pytest.raises(UserError, match="out of range"):
        server.serve(MODEL, "", "", scale, (), ())


def test_a_model_without_a_size_has_no_scale(folder, unscaled, outputs):
    load_predictor(unscaled)
    for command in ("predict", "inspect"):
        done = CliRunner().invoke(
            cli.app, [command, str(folder), "--scale", "2", "--model", str(unscaled)]
        )
        assert done.exit_code == 2
        assert "needs a model that knows the size of its training images" in done.stderr
    assert not list(outputs.iterdir())


def test_an_inspection_keeps_its_scale(folder, tmp_path, outputs):
    command = ["inspect", str(folder), "--workers", "1", "--scale", "0.5", "--run", "mill"]
    assert CliRunner().invoke(cli.app, command).exit_code == 0
    place = outputs / "mill" / "inspection"
    facts = facts_of(place)
    assert facts["scale"] == 0.5
    assert inspection_page._predictor(facts).scale == 0.5
    assert "<dt>Scale</dt><dd>0.5</dd>" in (place / inspection_page.PAGE).read_text()
    with (place / runs.INSPECTIONS).open(newline="") as lines:
        [row] = csv.DictReader(lines)
    gray = np.asarray(Image.open(folder / "a.png"))
    expected = load_predictor(MODEL, scale=0.5).predict_image(gray)
    assert float(row["novelty"]) == pytest.approx(expected.novelty, rel=1e-3)
    again = CliRunner().invoke(cli.app, [*command[:5], "0.6", *command[6:]])
    assert again.exit_code == 2
    assert "scale 0.5" in again.stderr and "name another run" in again.stderr


def test_an_inspection_of_before_there_were_scales_goes_on(folder, tmp_path, capsys):
    batch.inspect([str(folder)], tmp_path / "run", MODEL, processes=1)
    facts = facts_of(tmp_path / "run")
    del facts["scale"]
    (tmp_path / "run" / runs.INSPECTION).write_text(json.dumps(facts))
    batch.inspect([str(folder)], tmp_path / "run", MODEL, processes=1)
    assert "All 1 images of the list are inspected" in capsys.readouterr().out


def test_a_watched_folder_is_read_at_its_scale(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "PAUSE", 0)
    look = watch.watch(str(folder), tmp_path / "run", MODEL, scale=0.5)
    assert [next(look), next(look), next(look)] == [0, 0, 1]
    look.close()
    assert facts_of(tmp_path / "run")["scale"] == 0.5
    with pytest.raises(UserError, match=r"scale 0\.5"):
        next(watch.watch(str(folder), tmp_path / "run", MODEL))


def test_the_demo_has_a_scale_whatever_the_model(tmp_path, monkeypatch, unscaled):
    panel = Panel(MODEL, scale=0.5)
    assert panel.session.predictor.scale == 0.5
    panel._switch(str(unscaled))
    assert "needs a model that knows" in panel.controls.status.value
    pages = []
    monkeypatch.setenv("STEEL_HOME", str(tmp_path))  # `serve` sets it
    monkeypatch.setattr(
        server.Voila, "launch_instance", lambda options: pages.append(Path(options[0]).read_text())
    )
    server.serve(MODEL, "", "", 0.5, (), ())
    assert "scale=0.5" in pages[0]
