"""Data sets: finding, indexing and reading the images."""

import json
import os
import shutil
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nbutils import plots, runs, runtime
from nbutils.data import audit, datasets, labels, shortcuts, splits, synthetic
from nbutils.disk import UserError


@pytest.fixture
def two_classes(tmp_path):
    """A folder for each class, two images each."""
    rng = np.random.default_rng(0)
    for label in ("dent", "hole"):
        (tmp_path / label).mkdir()
        for name in ("a.png", "b.png"):
            gray = rng.integers(0, 255, (40, 40), dtype=np.uint8)
            Image.fromarray(gray).save(tmp_path / label / name)
    return tmp_path


def copy_as(stand_in, folder, rename):
    """Copy two images of each class of the stand-in to where `rename` says."""
    for file in stand_in.glob("IMAGES/*_[12].jpg"):
        label, number = file.stem.rsplit("_", 1)
        target = folder / rename(label, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".jpg":
            shutil.copy(file, target)
        else:
            Image.open(file).save(target)
    return folder


PREFIXES = {label: prefix for prefix, label in labels.NEU_CLS_PREFIXES.items()}
KAGGLE_PARTS = {"1": "train", "2": "validation"}
LAYOUTS = {
    "flat with IMAGES": lambda label, n: f"IMAGES/{label}_{n}.jpg",
    "flat, no folder": lambda label, n: f"{label}_{n}.jpg",
    "Kaggle": lambda label, n: f"{KAGGLE_PARTS[n]}/images/{label}/{label}_{n}.jpg",
    "NEU-CLS": lambda label, n: f"{PREFIXES[label]}_{n}.bmp",
    "NEU-CLS in a folder": lambda label, n: f"NEU-CLS/{PREFIXES[label]}_{n}.bmp",
    "a folder for each class, TIFF": lambda label, n: f"{label}/{n}.tiff",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_give_the_same_labels_and_numbers(layout, stand_in, tmp_path):
    table = datasets.index_images(copy_as(stand_in, tmp_path, LAYOUTS[layout]))
    assert table["label"].tolist() == [label for label in labels.NEU_CLASSES for _ in range(2)]
    assert table["number"].tolist() == [1, 2] * 6


def test_index_of_the_stand_in(table, stand_in):
    assert list(table.columns) == [
        "path", "label", "number", "width", "height", "boxes", "sha256",
    ]  # fmt: skip
    assert table["label"].value_counts().eq(12).all()
    assert table["sha256"].is_unique
    assert table.attrs["skipped"] == {}
    assert audit.contradictions(table).empty
    assert "without a defect" not in table.attrs["layout"]
    assert "72 images of 6 classes, by the names of the files" in table.attrs["layout"]
    assert table["boxes"].map(len).gt(0).all()
    for row in table.itertuples():
        for label, left, top, right, bottom in row.boxes:
            assert label == row.label
            assert 0 < left < right < row.width
            assert 0 < top < bottom < row.height


def test_any_classes_and_names(two_classes):
    table = datasets.index_images(two_classes)
    assert table["label"].tolist() == ["dent", "dent", "hole", "hole"]
    assert table["number"].tolist() == [1, 2, 1, 2]


def test_bad_files_are_skipped_named_and_counted(two_classes):
    (two_classes / "dent" / "broken.png").write_bytes(b"no image")
    (two_classes / "b.xml").write_text("<annotation><object>")
    (two_classes / "orphan.xml").write_text("<annotation/>")
    (two_classes / ".hidden").mkdir()
    (two_classes / ".hidden" / "c.png").write_bytes(b"")
    table = datasets.index_images(two_classes)
    assert len(table) == 4
    reasons = sorted(table.attrs["skipped"].values())
    assert [reason.split("/")[-1].split(" ")[0] for reason in reasons] == [
        "b.xml", "broken.png", "orphan.xml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: shutil.rmtree(folder), "is no folder"),
        (lambda folder: [shutil.rmtree(sub) for sub in folder.iterdir()], "holds no images"),
        (lambda folder: shutil.rmtree(folder / "hole"), "1 classes"),
        (lambda folder: [file.write_bytes(b"") for file in folder.rglob("*.png")], "0 readable"),
    ],
)
def test_unusable_folders(two_classes, prepare, message):
    prepare(two_classes)
    with pytest.raises(UserError, match=message) as caught:
        datasets.index_images(two_classes)
    assert str(two_classes) in str(caught.value)


def test_read_images_checks_hashes(table):
    some = table.head(3).copy()
    images = datasets.read_images(some, 32)
    assert images.shape == (3, 32, 32, 1)
    assert images.dtype == np.uint8
    some.loc[1, "sha256"] = "0"
    with pytest.raises(UserError, match="not the image that was split"):
        datasets.read_images(some, 32)
    gone = pd.DataFrame({"path": ["/gone.jpg"], "sha256": ["0"]})
    with pytest.raises(UserError, match=r"/gone.jpg is gone"):
        datasets.read_images(gone, 32)


def test_read_part_gives_images_and_class_numbers_in_the_order_of_the_split(split):
    classes = tuple(sorted(split["label"].unique()))
    images, y = datasets.read_part(split, "validation", classes, 32)
    rows = split[split["part"] == "validation"]
    assert [classes[number] for number in y] == rows["label"].tolist()
    assert np.array_equal(images[-1:], datasets.read_images(rows.tail(1), 32))


def test_find_source_takes_the_given_folder_first(two_classes, monkeypatch):
    monkeypatch.setenv("NEU_DET_DIR", "/nowhere")
    assert datasets.find_source(two_classes).folder == two_classes
    with pytest.raises(UserError, match="NEU_DET_DIR"):
        datasets.find_source()
    monkeypatch.setenv("NEU_DET_DIR", str(two_classes))
    assert datasets.find_source().folder == two_classes


@pytest.mark.parametrize("name", ["~nobody_of_this_name/x", "x" * 5000, "a\0b", "/nowhere"])
def test_a_name_that_is_no_folder_is_told(name):
    with pytest.raises(UserError, match="is no folder: correct DATA_DIR"):
        datasets.find_source(name)


def test_boxes_mark_their_pixels_whatever_they_say():
    boxes = [("dent", -30, -30, 20, 10), ("hole", 0, 0, 40, 40), ("dent", 90, -9, 999, -2)]
    rows = pd.DataFrame({"width": [100], "height": [50], "boxes": [boxes]})
    [mask] = datasets.box_masks(rows, ["dent"], 10)
    assert mask[:2, :2].all()
    assert mask.sum() == 4


def test_find_source_then_looks_where_neu_det_is(two_classes, monkeypatch, tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    monkeypatch.delenv("NEU_DET_DIR", raising=False)
    monkeypatch.setattr(runs, "ROOT", root / "project")
    monkeypatch.setattr(runs, "DATA", root / "project" / "data")
    shared, own = root / "shared" / "NEU-DET", root / "project" / "data" / "NEU-DET"
    shutil.copytree(two_classes, shared)
    assert datasets.find_source().folder == shared
    shutil.copytree(two_classes, own)
    assert datasets.find_source().folder == own


def test_find_source_ends_with_the_stand_in_and_says_why(monkeypatch, tmp_path):
    def no_network():
        raise OSError("no answer from the network")

    monkeypatch.delenv("NEU_DET_DIR", raising=False)
    monkeypatch.setattr(runs, "ROOT", tmp_path / "project")
    monkeypatch.setattr(runs, "DATA", tmp_path / "data")
    monkeypatch.setattr(datasets, "_download", no_network)
    monkeypatch.setattr(synthetic, "N_PER_CLASS", 2)
    source = datasets.find_source()
    assert source.name == "SYNTHETIC"
    assert "no answer from the network" in source.reason
    assert len(datasets.index_images(source.folder)) == 12


def test_download_gives_up_when_the_network_hangs(monkeypatch):
    monkeypatch.setattr(runtime, "TIMEOUT", 0.1)
    monkeypatch.setattr(runtime, "_responds", lambda url: time.sleep(5))
    start = time.perf_counter()
    with pytest.raises(OSError, match="network"):
        datasets._download()
    assert time.perf_counter() - start < 4


def test_boxes_of_equal_names_go_to_the_image_in_their_folder(tmp_path, gray):
    box = (
        "<annotation><object><name>dent</name><bndbox><xmin>{}</xmin><ymin>2</ymin>"
        "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
    )
    for index, label in enumerate(("dent", "hole")):
        (tmp_path / label).mkdir()
        Image.fromarray(gray + index).save(tmp_path / label / "1.png")
        (tmp_path / label / "1.xml").write_text(box.format(index))
    (tmp_path / "1.xml").write_text(box.format(7))
    table = datasets.index_images(tmp_path)
    assert [boxes[0][1] for boxes in table["boxes"]] == [0, 1]
    [reason] = table.attrs["skipped"].values()
    assert "has boxes for 2 images" in reason


def test_classes_named_by_digits_stay_text(tmp_path, gray):
    for index, label in enumerate(("01", "NA")):
        (tmp_path / label).mkdir()
        for number in range(9):
            Image.fromarray(gray + 10 * index + number).save(tmp_path / label / f"{number}.png")
    table = datasets.index_images(tmp_path)
    splits.write_split(table, splits.make_split(table, "random", seed=0), tmp_path)
    assert set(splits.read_split(tmp_path)["label"]) == {"01", "NA"}


NO_PAIRS = pd.DataFrame({"a": [], "b": []}, dtype=int)
NAMES = (b"\xe4.png", b"a, b.png", b'"q".png', b"line\nbreak.png", b"NA", b" x .png", b"$\\frac$")


def test_file_names_of_any_bytes_survive(tmp_path, gray):
    folder = tmp_path / os.fsdecode(b"set\xff")
    for index, label in enumerate(("dent", "hole")):
        (folder / label).mkdir(parents=True)
        for number, name in enumerate(NAMES):
            gray[0, 0] = 10 * index + number
            Image.fromarray(gray).save(folder / label / os.fsdecode(name), "PNG")
    (folder / os.fsdecode(b"dent/\xf6.xml")).write_text("<")
    shutil.copy(folder / "dent" / "NA", folder / "dent" / "cr\r.png")
    table = datasets.index_images(folder)
    assert len(table) == 2 * len(NAMES)
    part = splits.make_split(table, "grouped", 0, splits.find_groups(table, "grouped", NO_PAIRS))
    splits.write_split(table, part, tmp_path)
    split = splits.read_split(tmp_path)
    assert split["path"].tolist() == table["path"].tolist()
    assert datasets.read_images(split, 32).shape == (2 * len(NAMES), 32, 32, 1)
    runs.write_json(audit.summarize(table, part, NO_PAIRS), tmp_path / "audit.json")
    skipped = json.loads((tmp_path / "audit.json").read_text())["skipped"]
    assert {os.fsencode(path).split(b"/")[-1] for path in skipped} == {b"\xf6.xml", b"cr\r.png"}
    table.attrs["layout"].encode()
    figure = plots.data.samples(datasets.read_originals(table), table)
    figure.canvas.draw()
    plt.close(figure)
    with pytest.raises(UserError) as caught:
        datasets.read_images(split.assign(sha256="0"), 32)
    str(caught.value).encode()


SHAPES = {  # images of each class, and whether their sizes differ
    "two classes": ([8, 8], False),
    "thirty classes": ([5] * 30, False),
    "unequal classes": ([100, 5], False),
    "unequal sizes": ([12, 12, 12], True),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_set_of_any_shape_is_audited_and_split(tmp_path, shape, monkeypatch):
    monkeypatch.setattr(audit, "WINDOW", 5)
    counts, is_mixed = SHAPES[shape]
    rng = np.random.default_rng(0)
    for label, count in enumerate(counts):
        (tmp_path / f"class {label}").mkdir()
        for number in range(count):
            side = int(rng.integers(30, 90)) if is_mixed else 32
            gray = rng.integers(0, 255, (32, side), dtype=np.uint8)
            Image.fromarray(gray).save(tmp_path / f"class {label}" / f"{number}.png")
    table = datasets.index_images(tmp_path)
    measures, thumbnails = audit.measure_texture(table)
    pairs = audit.near_duplicates(table, thumbnails)
    sequential = audit.sequential_classes(table, thumbnails, pairs)
    kind = splits.default_kind(table)
    groups = splits.find_groups(table, kind, pairs, sequential)
    part = splits.make_split(table, kind, 0, groups)
    assert (pd.crosstab(table["label"], part) > 0).all(axis=None)
    y = pd.factorize(table["label"], sort=True)[0]
    features = rng.normal(size=(len(y), 8)) + 3 * y[:, np.newaxis]
    ways = shortcuts.find(table, measures) if len(counts) < 5 else None  # a tree for each class
    distances = audit.distances_to_class(features, y)
    lines = audit.findings(table, part, pairs, measures, None, ways, distances)
    assert any("tiny classes" in line for line in lines)
    assert any("sizes are mixed" in line for line in lines) == is_mixed
    splits.write_split(table, part, tmp_path, groups)
    runs.write_json(audit.summarize(table, part, pairs), tmp_path / runs.AUDIT)
    assert splits.read_split(tmp_path)["part"].tolist() == part.tolist()
    plt.close(plots.data.class_balance(table["label"], part))
