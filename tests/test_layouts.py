"""Layouts of image folders, on small stand-ins. All images are SYNTHETIC."""

import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from folders import boxes, labels, reason, write, write_mask, write_text
from PIL import Image, ImageFilter

from nbutils import runs
from nbutils.data import audit, datasets
from nbutils.data.labels import largest_class
from nbutils.data.layouts import read_layout
from nbutils.data.regions import Region
from nbutils.disk import UserError

# Class folders


@pytest.mark.parametrize(
    "pattern",
    [
        "{}/{}.png",
        "{}/Imgs/{}.png",
        "images/{}/{}.png",
        "train/{}/{}.png",
        "some set/{}/{}.png",
        "set/data/train/{}/img/{}.png",
        "train/{}/day 1/{}.png",
    ],
)
def test_the_level_that_names_the_classes_is_found(tmp_path, pattern):
    names = [pattern.format(label, n) for label in ("MT_Crack", "MT_Free") for n in (1, 2)]
    layout = read_layout(write(tmp_path, *names))
    assert layout.kind == "folders"
    assert sorted(labels(layout).values()) == ["MT_Crack"] * 2 + ["MT_Free"] * 2
    assert layout.normal_classes == ("MT_Free",)
    assert layout.ignored == {}


def test_an_image_outside_the_class_folders_is_ignored_with_the_reason(tmp_path):
    layout = read_layout(write(tmp_path, "crack/1.png", "hole/1.png", "montage.png"))
    assert sorted(labels(layout)) == ["crack/1.png", "hole/1.png"]
    assert "outside the class folders" in reason(layout, "montage.png")
    assert "montage.png: is an image outside" in layout.describe()


def test_two_levels_of_classes_are_refused_and_the_inner_one_can_be_chosen(tmp_path):
    names = [
        f"{a}/{b}/{n}.png" for a in ("mill1", "mill2") for b in ("crack", "hole") for n in "12"
    ]
    write(tmp_path, *names)
    with pytest.raises(UserError, match=r"mill1, mill2 or crack, hole.*LAYOUT"):
        read_layout(tmp_path)
    assert set(labels(read_layout(tmp_path, "folders")).values()) == {"crack", "hole"}


def test_folders_and_names_that_differ_are_refused(tmp_path):
    names = [f"day {d}/{b}_{n}.png" for d in "ab" for b in ("crack", "hole") for n in "12"]
    write(tmp_path, *names)
    with pytest.raises(UserError, match=r"'folders'.*'names'.*LAYOUT"):
        read_layout(tmp_path)
    assert set(labels(read_layout(tmp_path, "names")).values()) == {"crack", "hole"}
    assert set(labels(read_layout(tmp_path, "folders")).values()) == {"day a", "day b"}


def test_numbered_images_beside_class_folders_are_refused(tmp_path):
    flat = [f"{label}_{n}.png" for label in ("crack", "hole") for n in range(4)]
    write(tmp_path, *flat, "old/crack_8.png", "new/hole_9.png")
    with pytest.raises(UserError, match="two ways"):
        read_layout(tmp_path)


def test_folders_that_hold_several_neu_classes_each_are_refused(tmp_path):
    write(tmp_path, *(f"{a}/{b}_1.png" for a in ("new", "old") for b in ("crazing", "patches")))
    with pytest.raises(UserError, match="two ways"):
        read_layout(tmp_path)
    assert set(labels(read_layout(tmp_path, "names")).values()) == {"crazing", "patches"}


def test_formats_that_are_not_read_are_reported(tmp_path):
    write(tmp_path, "crack/1.png", "hole/1.png", "hole/2.webp")
    assert "save it as PNG" in reason(read_layout(tmp_path), "2.webp")


def test_spellings_that_differ_in_case_or_blanks_are_one_class(tmp_path):
    write(tmp_path, "a/Crack/1.png", "a/Crack/2.png", "b/crack /3.png", "a/hole/1.png")
    layout = read_layout(tmp_path, "folders")
    assert sorted(labels(layout).values()) == ["Crack"] * 3 + ["hole"]
    assert layout.notes == ["'crack ' and 'Crack' are one class"]
    assert "one class" in layout.describe()


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("a,b", "a,b"), ('"a"', '"a"'), ("a\nb", "a b"), ("a; b", "a, b"), ("a\x07", "a"),
        ("\u00e9", "\u00e9"), ("e\u0301", "\u00e9"), (b"Kr\xe4tzer", "Krätzer"),
        ("all", "all_"), ("All", "All"), ("<b>", "<b>"), ("=1+1", "=1+1"),
    ],
)  # fmt: skip
def test_class_names_that_would_break_a_table_are_made_fit(tmp_path, name, label):
    folder = tmp_path / os.fsdecode(name)
    write(folder, "1.png", "2.png")
    write(tmp_path / "hole", "1.png", "2.png")
    layout = read_layout(tmp_path)
    assert set(labels(layout).values()) == {label, "hole"}
    assert bool(layout.notes) == (os.fsdecode(name) != label)


def test_a_reserved_class_name_does_not_take_that_of_another(tmp_path):
    write(tmp_path, "all/1.png", "all_/1.png")
    assert set(labels(read_layout(tmp_path)).values()) == {"all__", "all_"}


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("Good", True), ("MT_Free", True), ("defect-free", True), ("no_defect", True),
        ("steel-ok", True), ("abnormal", False), ("not_ok", False), ("free_edge", False),
    ],
)  # fmt: skip
def test_classes_without_a_defect_are_known_by_their_name(tmp_path, name, normal):
    layout = read_layout(write(tmp_path, f"{name}/1.png", "dent/1.png"))
    assert layout.normal_classes == ((name,) if normal else ())


def test_normal_class_names_the_class_without_a_defect(tmp_path):
    write(tmp_path, "plain/1.png", "dent/1.png")
    assert read_layout(tmp_path, normal_class="Plain").normal_classes == ("plain",)
    with pytest.raises(UserError, match=r"NORMAL_CLASS 'x'.*dent, plain"):
        read_layout(tmp_path, normal_class="x")


def test_an_unknown_or_unfitting_layout_is_refused(tmp_path):
    write(tmp_path, "crack/1.png", "hole/1.png")
    with pytest.raises(UserError, match="LAYOUT 'tree' is unknown"):
        read_layout(tmp_path, "tree")
    for layout in ("voc", "coco", "yolo", "csv"):
        with pytest.raises(UserError, match=f"LAYOUT '{layout}' does not fit"):
            read_layout(tmp_path, layout)


# Masks


@pytest.mark.parametrize(
    "place",
    ["crack/1.bmp", "crack/1_mask.png", "crack/masks/1.png", "masks/crack/1_gt.png", "masks/1.png"],
)
@pytest.mark.parametrize("white", [255, 1])
def test_masks_give_boxes_and_are_no_images(tmp_path, place, white):
    write(tmp_path, "crack/1.png", "hole/2.png")
    write_mask(tmp_path / place, (2, 3, 12, 13), (30, 20, 40, 30), (50, 1, 52, 3), white=white)
    layout = read_layout(tmp_path)
    assert sorted(labels(layout)) == ["crack/1.png", "hole/2.png"]
    assert layout.entries[0].boxes == [("crack", 2, 3, 12, 13), ("crack", 30, 20, 40, 30)]
    assert layout.entries[0].mask == tmp_path / place
    assert layout.ignored == {}


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_a_mask_of_numbers_has_boxes_and_a_black_one_that_was_compressed_has_none(tmp_path, suffix):
    numbers = np.zeros((40, 60), np.uint8)
    numbers[3:13, 2:12], numbers[20:30, 30:40] = 1, 2
    write(tmp_path, *(f"crack/{n}.jpg" for n in range(2)))
    (tmp_path / "masks").mkdir()
    Image.fromarray(numbers).save(tmp_path / f"masks/0{suffix}")
    Image.fromarray(numbers).save(tmp_path / "masks/1.jpg", quality=95)
    layout = read_layout(tmp_path)
    assert boxes(layout)["0.jpg"] == [("crack", 2, 3, 12, 13), ("crack", 30, 20, 40, 30)]
    assert boxes(layout)["1.jpg"] == []


def test_what_a_mask_of_numbers_leaves_open_is_no_defect(tmp_path):
    numbers = np.zeros((40, 60), np.uint8)
    numbers[3:13, 2:12], numbers[20:30, 30:40], numbers[35:] = 1, 2, 255
    write(tmp_path, "crack/0.jpg", "crack/1.jpg")
    (tmp_path / "masks").mkdir()
    Image.fromarray(numbers).save(tmp_path / "masks/0.png")
    assert boxes(read_layout(tmp_path))["0.jpg"] == [
        ("crack", 2, 3, 12, 13),
        ("crack", 30, 20, 40, 30),
    ]


def test_files_that_windows_numbered_have_their_class_and_number(tmp_path):
    write(tmp_path, *(f"{label} ({n}).jpg" for label in ("dent", "crack") for n in (1, 2, 10)))
    table = datasets.index_images(tmp_path)
    assert set(table["label"]) == {"dent", "crack"}
    assert sorted(table["number"]) == [1, 1, 2, 2, 10, 10]


def test_spellings_of_a_class_are_one_before_areas_are_compared():
    file = Path("a.json")
    regions = [
        Region("scratch", (0, 0, 10, 6), file),
        Region("Scratch ", (0, 0, 10, 6), file),
        Region("dent", (0, 0, 10, 10), file),
    ]
    assert largest_class(regions) == "scratch"


def test_ground_truth_of_one_class_is_not_given_to_another(tmp_path):
    write(tmp_path, "train/good/0.png", "test/good/1.png", "test/crack/0.png", "test/crack/1.png")
    write_mask(tmp_path / "ground_truth/crack/0_mask.png", (2, 3, 12, 13))
    write_mask(tmp_path / "ground_truth/crack/9_mask.png", (2, 3, 12, 13))
    layout = read_layout(tmp_path)
    masked = [entry.path for entry in layout.entries if entry.mask]
    assert masked == [tmp_path / "test/crack/0.png"]
    assert "mask of no image here" in reason(layout, "9_mask.png")
    assert layout.normal_classes == ("good",)


def test_masks_that_are_black_compressed_scaled_or_lost(tmp_path):
    write(tmp_path, *(f"crack/{n}.jpg" for n in range(5)), "hole/1.jpg")
    write_mask(tmp_path / "crack/0.png")
    write_mask(tmp_path / "crack/1_mask.jpg", (8, 8, 24, 24), quality=60)
    write_mask(tmp_path / "crack/2.png", (4, 6, 24, 26), size=(120, 80))
    write_mask(tmp_path / "crack/3.png", (4, 6, 24, 26), size=(80, 80))
    write_mask(tmp_path / "crack/lost.png", (4, 6, 24, 26))
    write(tmp_path, "crack/masks/4.png")
    layout = read_layout(tmp_path)
    assert len(layout.entries) == 6
    assert boxes(layout)["0.jpg"] == []
    [(_, left, top, right, bottom)] = layout.entries[1].boxes
    assert np.abs(np.subtract((left, top, right, bottom), (8, 8, 24, 24))).max() <= 1
    assert boxes(layout)["2.jpg"] == [("crack", 2, 3, 12, 13)]
    assert "80 x 80" in reason(layout, "3.png")
    assert "mask of no image here" in reason(layout, "lost.png")
    assert "more than the two gray values" in reason(layout, "4.png")


@pytest.mark.parametrize("folder", ["segmentation", "SegmentationClass"])
def test_folders_of_segmentations_hold_masks(tmp_path, folder):
    write(tmp_path, "crack/1.png", "hole/2.png")
    write_mask(tmp_path / f"crack/{folder}/1.png", (2, 3, 12, 13))
    assert boxes(read_layout(tmp_path)) == {"1.png": [("crack", 2, 3, 12, 13)], "2.png": []}


def test_a_third_value_in_a_mask_is_refused_and_a_smoothed_edge_is_not(tmp_path):
    write(tmp_path, "crack/1.png", "crack/2.png", "hole/3.png")
    write_mask(tmp_path / "crack/masks/1.png", (2, 3, 12, 13), white=100)
    mask = Image.open(tmp_path / "crack/masks/1.png")
    mask.paste(255, (30, 3, 50, 33))
    mask.save(tmp_path / "crack/masks/1.png")
    mask = Image.new("L", (240, 160))
    mask.paste(255, (120, 12, 200, 132))
    mask.filter(ImageFilter.SMOOTH).save(tmp_path / "crack/masks/2.png")
    layout = read_layout(tmp_path)
    assert "more than the two gray values" in reason(layout, "masks/1.png")
    assert boxes(layout)["2.png"] == [("crack", 30, 3, 50, 33)]


def test_photographs_of_low_contrast_are_no_masks(tmp_path):
    write(tmp_path, "crack/1.jpg", "hole/2.jpg")
    write_mask(tmp_path / "crack/1.png", (2, 3, 12, 13))
    (tmp_path / "plain").mkdir()
    gray = np.random.default_rng(0).integers(107, 134, (40, 60), dtype=np.uint8)
    Image.fromarray(gray).save(tmp_path / "plain/3.png")
    layout = read_layout(tmp_path)
    assert labels(layout)["plain/3.png"] == "plain"
    assert boxes(layout)["1.jpg"] == [("crack", 2, 3, 12, 13)]


def test_years_of_parts_are_no_classes(tmp_path):
    pattern = "images/{}2017/{}.png"
    write(tmp_path, *(pattern.format(part, n) for part in ("train", "val") for n in range(4)))
    for part in ("train", "val"):
        for n in range(4):
            line = "0 .5 .5 .2 .2" if n % 2 else ""
            write_text(tmp_path / f"labels/{part}2017/{n}.txt", line)
    write_text(tmp_path / "data.yaml", "names: [dent]")
    layout = read_layout(tmp_path, normal_class="ok")
    assert Counter(entry.label for entry in layout.entries) == {"dent": 4, "ok": 4}


def test_images_of_one_name_that_are_no_masks_stay_images(tmp_path):
    write(tmp_path, "crack/1.png", "crack/1.bmp", "hole/1.png")
    assert len(read_layout(tmp_path).entries) == 3


# What stops nothing


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_and_folders_named_as_files_stop_nothing(tmp_path):
    write(tmp_path, "crack/1.png", "hole/1.png", "hole/x.jpg/2.png")
    (tmp_path / "crack/1.xml").mkdir()
    (tmp_path / "empty.json").mkdir()
    for name in ("crack/x.jpg", "crack/x.xml"):
        os.mkfifo(tmp_path / name)
    layout = read_layout(tmp_path)
    assert len(layout.entries) == 3
    assert "no regular file" in reason(layout, "crack/x.jpg")


def test_links_are_followed_once(tmp_path):
    write(tmp_path, "elsewhere/1.png", "set/crack/1.png")
    (tmp_path / "set/hole").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/crack/again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/crack/loop").symlink_to(tmp_path / "set")
    (tmp_path / "set/crack/all").symlink_to(tmp_path)
    (tmp_path / "set/crack/broken.png").symlink_to(tmp_path / "nowhere")
    layout = read_layout(tmp_path / "set")
    assert sorted(labels(layout)) in (
        ["crack/1.png", "hole/1.png"],
        ["crack/1.png", "crack/again/1.png"],
    )
    assert sum("read already" in text for text in layout.ignored.values()) == 1
    for name in ("loop", "crack/all"):
        assert "a folder that it is in" in reason(layout, name)
    assert "cannot be read" in reason(layout, "broken.png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_folders_that_cannot_be_listed_are_reported(tmp_path):
    write(tmp_path, "crack/1.png", "hole/1.png", "secret/1.png")
    (tmp_path / "secret").chmod(0)
    layout = read_layout(tmp_path)
    (tmp_path / "secret").chmod(0o700)
    assert len(layout.entries) == 2
    assert "cannot be listed" in reason(layout, "secret")


def test_the_index_says_what_was_understood(tmp_path):
    write(tmp_path, "crack/1.png", "crack/2.jpg", "ok/1.png", "montage.png")
    shutil.copy(tmp_path / "crack/1.png", tmp_path / "ok/8.jpg")
    shutil.copy(tmp_path / "crack/2.jpg", tmp_path / "ok/9")
    (tmp_path / "ok/7.png").write_bytes(b"no image")
    table = datasets.index_images(tmp_path)
    assert table["label"].tolist() == ["crack"] * 2 + ["ok"] * 3
    [of_ok] = [line for line in table.attrs["layout"].splitlines() if " ok " in line]
    assert of_ok.endswith("without a defect")
    assert sorted(path.split("/")[-1] for path in table.attrs["skipped"]) == [
        "7.png", "montage.png",
    ]  # fmt: skip
    copies = audit.contradictions(table).groupby("sha256", sort=False)["path"].agg(list)
    groups = [[path.split("/")[-1] for path in group] for group in copies]
    assert sorted(groups) == [["1.png", "8.jpg"], ["2.jpg", "9"]]
    lines = table.attrs["layout"].splitlines()
    assert lines[0] == f"{tmp_path.name}: 5 images of 2 classes, by a folder for each class"
    assert lines[1:3] == [
        "├── crack      2 images, no boxes",
        "├── ok         3 images, no boxes, without a defect",
    ]
    assert len(lines) == 5


@pytest.mark.real_data
def test_magnetic_tiles():
    folder = runs.ROOT.parent / "shared" / "MT"
    if not folder.is_dir():
        pytest.skip("the magnetic tiles are not in ../shared")
    layout = read_layout(folder)
    assert Counter(labels(layout).values()) == {
        "MT_Blowhole": 115, "MT_Break": 85, "MT_Crack": 57,
        "MT_Fray": 32, "MT_Free": 300, "MT_Uneven": 103,
    }  # fmt: skip
    assert all(entry.mask for entry in layout.entries)
    assert sum(bool(entry.boxes) for entry in layout.entries) == 386
    assert list(layout.ignored) == [str(folder.resolve() / "dataset.jpg")]
    assert layout.normal_classes == ("MT_Free",)
