"""A model exported for LiteRT answers as it did, without TensorFlow."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nbutils import bench, export, predict, splits, synthetic, training
from nbutils.paths import UserError
from nbutils.predict import load_predictor


@pytest.fixture(scope="module")
def exported(trained, table, tmp_path_factory):
    """A copy of the trained run, with a split, exported."""
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    shutil.copytree(trained, folder)
    splits.write_split(table, splits.make_split(table, "random", seed=0), folder)
    return folder, export.export(folder).set_index("network")


def test_float32_answers_as_keras(exported):
    _, table = exported
    assert table.loc["litert", "difference"] < 1e-4
    assert table.loc["litert", "agreement"] == 1


def test_int8_is_smaller_and_close(exported):
    folder, table = exported
    assert table.loc["int8", "size_mb"] < 0.6 * table.loc["litert", "size_mb"]
    assert 0 < table.loc["int8", "difference"] < 0.1
    assert (folder / "int8" / "limits.json").exists()


def test_novelty_and_verdict_are_the_same(exported, table):
    folder, _ = exported
    data = [Path(path).read_bytes() for path in table["path"][:10]]
    slow, fast = (load_predictor(folder, backend).predict(data) for backend in ("keras", "litert"))
    assert [one.novelty for one in fast] == pytest.approx([one.novelty for one in slow], rel=1e-3)
    assert [one.verdict for one in fast] == [one.verdict for one in slow]


def test_one_image_is_answered_as_among_many(exported):
    folder, _ = exported
    predictor = load_predictor(folder, "litert")
    rng = np.random.default_rng(0)
    squares = np.stack([synthetic.draw(label, rng)[0] for label in synthetic.DRAWERS])
    squares = squares[:, : predictor.size, : predictor.size, np.newaxis]
    together, _ = predictor.answers(squares)
    alone = [predictor.answers([square])[0][0] for square in squares]
    assert np.array(alone) == pytest.approx(together, abs=1e-5)


def test_tensorflow_stays_out(exported, table):
    folder, _ = exported
    code = f"""
import json, sys
from nbutils.predict import load_predictor
data = open({table["path"][0]!r}, "rb").read()
[found] = load_predictor({str(folder)!r}, "litert").predict([data])
print(json.dumps([found.label, [name for name in ("tensorflow", "keras") if name in sys.modules]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    label, heavy = json.loads(done.stdout)
    assert label and heavy == []


def test_the_benchmark_measures_all_kinds_on_the_same_files(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "KINDS", ("litert", "int8"))
    monkeypatch.setattr(bench, "COLD_STARTS", 1)
    rows = bench.bench(exported[0], bench._drawn(tmp_path), rounds=2)
    assert [row["kind"] for row in rows] == ["litert", "int8"]
    assert all(value > 0 for row in rows for value in list(row.values())[1:])
    assert rows[1]["one_ratio"] == pytest.approx(rows[0]["one_ms"] / rows[1]["one_ms"])


def test_a_model_that_is_trained_again_forgets_its_exports(exported, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(exported[0], folder)
    assert predict.fastest(folder) == "litert"
    training.save(load_predictor(folder).model, {"classes": list("abcdef")}, folder)
    assert predict.fastest(folder) == "keras"
    with pytest.raises(UserError, match=r"nbutils\.export"):
        load_predictor(folder, "int8")


def test_a_damaged_file_is_named(exported, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(exported[0], folder)
    (folder / "model.tflite").write_bytes(b"not a network")
    with pytest.raises(UserError, match=r"model\.tflite cannot be loaded"):
        load_predictor(folder, "litert")
    with pytest.raises(UserError, match="unknown"):
        load_predictor(folder, "onnx")


def test_the_command_line_says_what_it_wrote(exported, capsys, monkeypatch):
    monkeypatch.setattr(export, "export", lambda folder: exported[1].reset_index())
    assert export.main([str(exported[0])]) == 0
    assert "int8" in capsys.readouterr().out
    assert export.main(["nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
