"""Corrected labels: written by several at once, and added to the training part."""

import contextlib
import errno
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbutils import runs
from nbutils.data import corrections, datasets, images, splits
from nbutils.disk import UserError

MODEL = "tiny/custom_cnn"


@pytest.fixture
def file(outputs, gray):
    """The file of a model, with one correction."""
    return corrections.write(gray, "crazing", "scratches", MODEL)


def test_corrections_of_all_models_are_in_one_folder(outputs, gray):
    names = {
        "tiny/custom_cnn": "tiny_custom_cnn.csv",
        "reference/mobilenet_v2": "reference_mobilenet_v2.csv",
        str(outputs.parent / "elsewhere" / "mine"): "mine.csv",
    }
    for model, name in names.items():
        file = corrections.write(gray, "crazing", "patches", model)
        assert file == outputs / "corrections" / name
        assert corrections.read(file)["model"].tolist() == [model]
    assert len(list((outputs / "corrections" / "images").iterdir())) == 1, "the image is the same"


def test_the_image_is_kept_and_the_last_correction_counts(file, gray):
    corrections.write(gray, "crazing", "patches", MODEL)
    [row] = corrections.read(file).to_dict("records")
    assert row["corrected"] == "patches"
    assert row["sha256"] == images.pixel_hash(gray)
    assert np.array_equal(images.decode(Path(row["path"]).read_bytes()), gray)


def write_several(outputs, first):
    runs.OUTPUTS = outputs
    for number in range(first, first + 10):
        gray = np.full((16, 16), number, np.uint8)
        file = corrections.write(gray, "crazing", "patches", MODEL)
    return file


def test_first_writers_at_once_lose_nothing(outputs):
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(4, fork) as processes:
        files = processes.map(write_several, [outputs] * 4, range(0, 40, 10))
    [file] = set(files)
    table = pd.read_csv(file)  # as a spreadsheet reads it: with the header once, at the top
    assert set(table["sha256"]) == {
        images.pixel_hash(np.full((16, 16), number, np.uint8)) for number in range(40)
    }
    assert {path.name for path in file.parent.iterdir()} >= {"images", file.name}


@pytest.mark.parametrize(
    "torn",
    [
        '"/data/a, b.png,0f',
        "/data/a.png,0f,crazing,patches\n",
        ",".join(corrections.COLUMNS),
        "x" * 200_000,
        "\x00\r\n",
    ],
)
def test_a_line_that_was_cut_off_hides_no_other(file, gray, torn, capsys):
    with file.open("a", encoding="utf-8") as lines:
        lines.write(torn)
    corrections.write(gray + 1, "crazing", "inclusion", MODEL)
    assert corrections.read(file)["corrected"].tolist() == ["scratches", "inclusion"]
    assert "1 of 3 lines are damaged" in capsys.readouterr().out


def test_a_file_of_something_else_is_left_as_it_is(file, gray):
    file.write_bytes(b"\xff\xfenot,ours\n")
    with pytest.raises(UserError, match=r"was not kept: .*csv is no file of corrections: rename"):
        corrections.write(gray, "crazing", "patches", MODEL)
    assert file.read_bytes() == b"\xff\xfenot,ours\n"
    with pytest.raises(UserError, match="lacks path"):
        corrections.read(file)


def test_an_empty_file_gets_its_header(file, gray):
    file.write_text("")
    corrections.write(gray, "crazing", "patches", MODEL)
    assert corrections.read(file)["corrected"].tolist() == ["patches"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("step", ["open", "save"])
def test_a_correction_that_cannot_be_kept_is_told(outputs, gray, monkeypatch, number, step):
    def fail(*args, **kwargs):
        raise OSError(number, "no luck")

    place = Path if step == "open" else corrections.Image.Image
    with monkeypatch.context() as patch:
        patch.setattr(place, step, fail)
        with pytest.raises(UserError, match="the correction was not kept: "):
            corrections.write(gray, "crazing", "patches", MODEL)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_corrections_or_a_user_error(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "corrections.csv"
    file.write_bytes(content)
    with contextlib.suppress(UserError):
        corrections.read(file)
    head = ",".join(corrections.COLUMNS).encode() + b"\n"
    file.write_bytes(head + content)
    corrections.read(file)


def test_training_takes_corrections_in_and_leaves_the_test_part(file, split):
    table = corrections.read(file)
    test, train = (split[split["part"] == part].iloc[0] for part in ("test", "train"))
    others = [
        {**table.iloc[0], "sha256": row["sha256"], "path": row["path"], "corrected": "patches"}
        for row in (test, train)
    ]
    runs.write_csv(pd.concat([table, pd.DataFrame(others)]), file)
    more = corrections.add_to_split(split, file)
    assert len(more) == len(split) + 1
    assert more.iloc[-1][["label", "part"]].tolist() == ["scratches", "train"]
    labels = more.set_index("path")["label"]
    assert labels[train["path"]] == "patches"
    assert labels[test["path"]] == test["label"]
    assert set(more["part"]) == set(splits.PARTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.assign(corrected="dent"), "dent: no class of this split"),
        (lambda table: table.assign(path="/nowhere.png"), "/nowhere.png is gone"),
        (lambda table: table.drop(columns="corrected"), "lacks corrected"),
        (lambda table: pd.DataFrame(), "name a file that the demo wrote"),
    ],
)
def test_corrections_that_cannot_be_used(file, split, change, message):
    runs.write_csv(change(corrections.read(file)), file)
    with pytest.raises(UserError, match=message):
        corrections.add_to_split(split, file)


def test_an_empty_file_is_none_of_corrections(file):
    file.write_text("")
    with pytest.raises(UserError, match="name a file that the demo wrote"):
        corrections.read(file)


def test_missing_corrections_name_the_notebook(outputs, split):
    with pytest.raises(UserError, match="correct a label in 05_upload_demo"):
        corrections.add_to_split(split, outputs / "none.csv")
    with pytest.raises(UserError, match="REENCODE has copied"):
        corrections.add_to_split(split, outputs / "none.csv", reencoded=True)


def test_a_strip_is_not_learned_under_one_class(file, split, gray, capsys):
    height, width = datasets.typical_size(split)
    for columns in (width, 4 * width):
        shown = np.random.default_rng(columns).integers(0, 255, (height, columns), np.uint8)
        corrections.write(shown, "crazing", "crazing", MODEL)
    added = corrections.add_to_split(split, file)
    assert added["width"].max() == max(split["width"].max(), width, gray.shape[1])
    assert "1 corrected images are left out" in capsys.readouterr().out


def test_boxes_go_with_the_label_of_their_image(file, split):
    table = corrections.read(file)
    [place] = split.index[split["part"] == "train"][:1]
    split.at[place, "boxes"] = [[split.at[place, "label"], 1, 2, 3, 4], ["other", 5, 6, 7, 8]]
    facts = {"sha256": split.at[place, "sha256"], "corrected": "patches"}
    runs.write_csv(pd.DataFrame([{**table.iloc[0], **facts}]), file)
    more = corrections.add_to_split(split, file)
    assert more.at[place, "boxes"] == [["patches", 1, 2, 3, 4], ["other", 5, 6, 7, 8]]
    assert corrections.add_to_split(split, file, ["patches"]).at[place, "boxes"] == []
