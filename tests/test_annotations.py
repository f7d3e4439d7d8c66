"""Annotations: Pascal VOC, COCO, YOLO and tables, on small SYNTHETIC folders."""

import contextlib
import json

import pytest
from folders import boxes, coco, labels, reason, voc, write, write_text
from hypothesis import given, settings
from hypothesis import strategies as st

from nbutils.data.layouts import read_layout
from nbutils.disk import UserError

BOMB = (
    "<!DOCTYPE annotation [<!ENTITY a0 'boom'>"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 30}'>" for n in range(1, 12))
    + "]><annotation>&a11;</annotation>"
)

# Pascal VOC


def test_voc_boxes_name_the_class_where_nothing_else_does(tmp_path):
    write(tmp_path, "JPEGImages/x1.png", "JPEGImages/x2.png")
    write_text(tmp_path / "Annotations/x1.xml", voc(("crack", 1, 1, 5, 5), ("hole", 1, 1, 20, 20)))
    write_text(tmp_path / "Annotations/x2.xml", voc(("crack", 1, 1, 5, 5)))
    layout = read_layout(tmp_path)
    assert layout.kind == "voc"
    assert [entry.label for entry in layout.entries] == ["hole", "crack"]
    assert boxes(layout)["x1.png"] == [("crack", 1, 1, 5, 5), ("hole", 1, 1, 20, 20)]


@pytest.mark.parametrize(
    ("edges", "kept", "said"),
    [
        ((-5, 2, 9, 99), ("crack", 0, 2, 9, 40), "clipped"),
        ((9, 20, 3, 2), ("crack", 3, 2, 9, 20), "put in order"),
        (("inf", 2, 9, 9), None, "not finite"),
        (("nan", 2, 9, 9), None, "not finite"),
        ((1, 2, "1e400", 9), None, "not finite"),
        ((5, 5, 5, 9), None, "empty"),
        (("left", 2, 9, 9), None, "not finite"),
        (("", 2, 9, 9), None, "not finite"),
        ((-9, -9, -2, -2), None, "outside"),
        ((-1e308, 2, 1e308, 9), ("crack", 0, 2, 60, 9), "clipped"),
        ((100, 100, 120, 120), None, "outside"),
    ],
)
def test_boxes_that_do_not_fit_are_clipped_or_reported(tmp_path, edges, kept, said):
    write(tmp_path, "crack/1.png", "hole/1.png")
    write_text(tmp_path / "crack/1.xml", voc(("crack", *edges)))
    layout = read_layout(tmp_path)
    assert layout.entries[0].boxes == ([kept] if kept else [])
    [text] = layout.notes
    assert said in text
    assert text.startswith("1 box ")
    assert text.endswith(": 1.xml")
    [files] = layout.boxes.values()
    assert files == {str(tmp_path / "crack/1.xml"): 1}


@pytest.mark.parametrize(
    "content",
    [
        b"<annotation><object>",
        b"",
        b"\x00\xff\xfe",
        b"<html/>",
        b"<annotation xmlns='x'><object/></annotation>",
        b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><annotation>&b;</annotation>",
        BOMB.encode(),
    ],
)
def test_broken_voc_files_are_reported(tmp_path, content):
    write(tmp_path, "crack/1.png", "hole/1.png")
    (tmp_path / "crack/1.xml").write_bytes(content)
    layout = read_layout(tmp_path)
    assert len(layout.entries) == 2
    assert "is no Pascal VOC file" in reason(layout, "1.xml")


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("", "utf-8-sig"), ("", "utf-16"), ("", "utf-16-le"), ("", "latin-1"), ("martian", "utf-8"),
     ("utf-8", "latin-1"), ("latin-1", "latin-1"), ("utf-16", "utf-8")],
)  # fmt: skip
def test_voc_files_are_read_in_any_encoding(tmp_path, declared, encoding):
    write(tmp_path, "x1.png", "x2.png")
    head = f"<?xml version='1.0' encoding='{declared}'?>" if declared else ""
    for number, label in enumerate(("Größe", "dent"), 1):
        write_text(tmp_path / f"x{number}.xml", head + voc((label, 1, 1, 5, 5)), encoding)
    assert [entry.label for entry in read_layout(tmp_path).entries] == ["Größe", "dent"]


def test_what_became_of_boxes_is_a_line_each_with_the_first_files(tmp_path):
    write(tmp_path, *(f"crack/{n}.png" for n in range(5)), "hole/1.png")
    for n in range(5):
        boxes = [("crack", -5, 2, 9, 9), ("crack", 1, 1, 1, 1), ("crack", 2, 2, 1, 1)]
        write_text(tmp_path / f"crack/{n}.xml", voc(*boxes[: 1 + n]))
    text = read_layout(tmp_path).describe()
    assert "note: 5 boxes clipped to their image: 0.xml, 1.xml, 2.xml and 2 more" in text
    assert "note: 4 boxes left out, empty: 1.xml, 2.xml, 3.xml and 1 more" in text
    assert "note: 3 boxes with their corners put in order: 2.xml, 3.xml, 4.xml" in text


# COCO


def test_coco(tmp_path):
    write(tmp_path, *(f"images/{name}.png" for name in "abcd"))
    annotations = [
        (0, 0, [1, 2, 30, 10]), (0, 1, [0, 0, 15, 15]), (0, 1, [20, 20, 10, 15]),
        (1, 0, [1, 1, 5, 5]), (3, 1, ["x", 1, 5, 5]),
    ]  # fmt: skip
    names = ["a.png", "b.png", "c.png", "d.png", "gone.png"]
    write_text(tmp_path / "annotations/instances.json", coco(names, annotations))
    layout = read_layout(tmp_path)
    assert layout.kind == "coco"
    assert [entry.label for entry in layout.entries] == ["hole", "crack", "hole"]
    assert boxes(layout)["a.png"][0] == ("crack", 1, 2, 31, 12)
    assert len(boxes(layout)["a.png"]) == 3
    assert "no box that tells its class" in reason(layout, "c.png")
    assert "'gone.png'" in reason(layout, "instances.json")
    assert "1 box left out, not finite: instances.json" in layout.notes
    layout = read_layout(tmp_path, normal_class="clean")
    assert labels(layout)["images/c.png"] == "clean"
    assert layout.normal_classes == ("clean",)


def test_boxes_that_two_files_list_count_once(tmp_path):
    write(tmp_path, "images/1.png")
    content = coco(["1.png"], [(0, 0, [1, 1, 9, 9]), (0, 0, [11, 1, 9, 9])])
    for name in ("train", "all"):
        write_text(tmp_path / f"annotations/{name}.json", content)
    layout = read_layout(tmp_path, "coco")
    assert len(layout.entries[0].boxes) == 2
    assert any("2 boxes left out, there twice" in note for note in layout.notes)


def test_coco_files_of_parts_find_images_of_equal_names(tmp_path):
    write(tmp_path, *(f"{part}2017/{n}.png" for part in ("train", "val") for n in (1, 2)))
    for number, part in enumerate(("train", "val")):
        content = coco(["1.png", "2.png"], [(n, number, [1, 1, 9, 9]) for n in (0, 1)])
        write_text(tmp_path / f"annotations/instances_{part}2017.json", content)
    assert [entry.label for entry in read_layout(tmp_path, "coco").entries] == [
        "crack", "crack", "hole", "hole",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        '{"images": 1, "annotations": []}',
        '{"images": []}',
        '{"images": [], "annotations": {}, "categories": [{"id": [], "name": 1}]}',
        '{"images": ["1.png"], "annotations": [], "categories": []}',
        '{"images": [], "annotations": [],'
        ' "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
    ],
)
def test_broken_json_is_reported(tmp_path, text):
    write(tmp_path, "crack/1.png", "hole/1.png")
    write_text(tmp_path / "x.json", text)
    layout = read_layout(tmp_path)
    assert len(layout.entries) == 2
    assert "is no COCO file" in reason(layout, "x.json")


def test_coco_and_folders_that_differ_are_refused_and_those_that_agree_are_not(tmp_path):
    write(tmp_path, "crack/1.png", "hole/2.png")
    agreeing = [(0, 0, [1, 1, 9, 9]), (1, 1, [1, 1, 9, 9])]
    write_text(tmp_path / "x.json", coco(["crack/1.png", "hole/2.png"], agreeing))
    assert read_layout(tmp_path).entries[0].boxes == [("crack", 1, 1, 10, 10)]
    differing = [(0, 1, [1, 1, 9, 9]), (1, 0, [1, 1, 9, 9])]
    write_text(tmp_path / "x.json", coco(["crack/1.png", "hole/2.png"], differing))
    with pytest.raises(UserError, match=r"'folders'.*'coco'.*LAYOUT"):
        read_layout(tmp_path)
    assert labels(read_layout(tmp_path, "folders"))["crack/1.png"] == "crack"
    assert labels(read_layout(tmp_path, "coco"))["crack/1.png"] == "hole"


def test_boxes_of_one_generic_class_take_that_of_their_image(tmp_path):
    write(tmp_path, "crack/1.png", "hole/2.png")
    annotations = [(0, 0, [1, 1, 9, 9]), (1, 0, [1, 1, 9, 9])]
    names = ["C:\\mill\\crack\\1.png", "/mill/hole/2.png"]
    write_text(tmp_path / "x.json", coco(names, annotations, ["defect"]))
    layout = read_layout(tmp_path)
    assert layout.kind == "folders"
    assert [entry.boxes[0][0] for entry in layout.entries] == ["crack", "hole"]
    assert "all boxes are called 'defect'" in layout.notes[0]


def test_boxes_of_classes_that_no_image_has_take_that_of_their_image_or_are_said_to_be_unused(
    tmp_path,
):
    write(tmp_path, "defect/1.png", "defect/2.png", "ok/3.png")
    for number, label in enumerate(("dent", "pit"), 1):
        write_text(tmp_path / f"defect/{number}.xml", voc((label, 1, 1, 9, 9)))
    layout = read_layout(tmp_path, "folders")
    assert boxes(layout)["2.png"] == [("defect", 1, 1, 9, 9)]
    assert "all boxes are called 'dent', 'pit'" in layout.notes[0]
    write_text(tmp_path / "defect/2.xml", voc(("defect", 1, 1, 9, 9)))
    assert "boxes called 'dent' are not used" in read_layout(tmp_path, "folders").notes[0]


def test_a_label_whose_image_is_missing_goes_to_no_other_part(tmp_path):
    write(tmp_path, *(f"images/train/{n}.png" for n in range(3)), "images/val/0.png")
    write_text(tmp_path / "data.yaml", "names: [crack, hole]")
    for part, number in (("train", 0), ("val", 1)):
        for n in range(3):
            write_text(tmp_path / f"labels/{part}/{n}.txt", f"{number} .5 .5 .2 .2")
    layout = read_layout(tmp_path, "yolo")
    assert [entry.label for entry in layout.entries] == ["crack", "crack", "crack", "hole"]
    assert "has boxes for no image here" in reason(layout, "val/2.txt")
    (tmp_path / "images/val/0.png").rename(tmp_path / "images/train/9.png")
    assert "has boxes for no image here" in reason(read_layout(tmp_path, "yolo"), "val/0.txt")


def test_a_label_whose_image_is_missing_goes_to_no_other_class(tmp_path):
    write(tmp_path, "images/crack/1.png", "images/crack/3.png", "images/hole/1.png")
    for label in ("crack", "hole"):
        write_text(tmp_path / f"annotations/{label}/3.xml", voc((label, 1, 1, 9, 9)))
    layout = read_layout(tmp_path)
    assert boxes(layout)["3.png"] == [("crack", 1, 1, 9, 9)]
    assert "has boxes for no image here" in reason(layout, "hole/3.xml")


def test_a_path_in_a_table_whose_image_is_missing_means_no_other_folder(tmp_path):
    write(tmp_path, "a/1.png", "a/2.png", "b/1.png")
    rows = [f"{folder}/{n}.png,{label}" for folder, label in ("ac", "bh") for n in (1, 2)]
    write_text(tmp_path / "t.csv", "\n".join(["path,label", *rows]))
    layout = read_layout(tmp_path, "csv")
    assert labels(layout) == {"a/1.png": "c", "a/2.png": "c", "b/1.png": "h"}
    assert "'b/2.png'" in reason(layout, "t.csv")
    (tmp_path / "t.csv").unlink()
    write_text(tmp_path / "a/t.csv", "path,label\n1.png,c\n2.png,c\n")
    write_text(tmp_path / "b/t.csv", "path,label\n1.png,h\n2.png,h\n")
    assert labels(read_layout(tmp_path, "csv")) == {"a/1.png": "c", "a/2.png": "c", "b/1.png": "h"}


def test_a_coco_file_of_a_part_finds_no_image_of_another(tmp_path):
    write(tmp_path, "train/1.png", "train/2.png", "valid/1.png")
    for number, part in enumerate(("train", "valid")):
        content = coco(["1.png", "2.png"], [(n, number, [1, 1, 9, 9]) for n in (0, 1)])
        write_text(tmp_path / f"{part}/_annotations.coco.json", content)
    layout = read_layout(tmp_path, "coco")
    assert [entry.label for entry in layout.entries] == ["crack", "crack", "hole"]
    assert "'2.png'" in reason(layout, "valid/_annotations.coco.json")


def test_images_that_share_an_id_are_refused(tmp_path):
    write(tmp_path, "crack/1.png", "hole/2.png")
    images = [{"id": 0, "file_name": name} for name in ("1.png", "2.png")]
    content = {"images": images, "annotations": [], "categories": []}
    write_text(tmp_path / "x.json", json.dumps(content))
    assert "several images have one id" in reason(read_layout(tmp_path), "x.json")


def test_a_second_file_of_an_image_is_reported(tmp_path):
    write(tmp_path, "images/1.png", "images/2.png")
    for folder, label in (("annotations", "crack"), ("old", "hole")):
        for n in (1, 2):
            write_text(tmp_path / f"{folder}/{n}.xml", voc((label, 1, 1, 9, 9)))
    layout = read_layout(tmp_path, "voc")
    assert {entry.label for entry in layout.entries} == {"crack"}
    assert "is a second file of its image" in reason(layout, "old/1.xml")


def test_polygons_without_boxes_have_those_around_them(tmp_path):
    write(tmp_path, "images/1.png", "images/2.png")
    content = json.loads(coco(["1.png", "2.png"], [(0, 0, None), (1, 1, None)]))
    content["annotations"][0]["segmentation"] = [[2, 3, 20, 3, 20, 9], [4, 4, 6, 12]]
    write_text(tmp_path / "x.json", json.dumps(content))
    layout = read_layout(tmp_path, "coco")
    assert boxes(layout) == {"1.png": [("crack", 2, 3, 20, 12)], "2.png": []}


def test_labelme_is_said_not_to_be_read(tmp_path):
    write(tmp_path, "crack/1.png", "hole/1.png")
    write_text(tmp_path / "crack/1.json", json.dumps({"shapes": [], "imagePath": "1.png"}))
    assert "LabelMe" in reason(read_layout(tmp_path), "crack/1.json")


def test_accents_may_be_written_apart_in_names_of_files(tmp_path):
    write(tmp_path, "images/a\u0308.png", "images/b.png")
    write_text(tmp_path / "t.csv", "path,label\nimages/\u00e4.png,crack\nb.png,hole\n")
    assert [entry.label for entry in read_layout(tmp_path).entries] == ["crack", "hole"]


def test_an_error_of_a_layout_names_what_was_left_out(tmp_path):
    write(tmp_path, "crack/1.png", "hole/2.png")
    write_text(tmp_path / "t.csv", "path,label\nlost.png,crack\n")
    with pytest.raises(UserError, match=r"does not fit.*left out: 1.*'lost.png'"):
        read_layout(tmp_path, "csv")


def test_boxes_of_unknown_images_or_classes_are_reported(tmp_path):
    write(tmp_path, "crack/1.png", "hole/2.png")
    write_text(tmp_path / "x.json", coco(["1.png"], [(0, 9, [1, 1, 9, 9]), (7, 0, [1, 1, 9, 9])]))
    assert "has 2 boxes of unknown" in reason(read_layout(tmp_path), "x.json")


# YOLO


@pytest.fixture
def yolo(tmp_path):
    write(tmp_path, "train/images/x1.png", "train/images/x2.png", "val/images/x1.png")
    write_text(tmp_path / "train/labels/x1.txt", "0 0.5 0.5 0.1 0.2\n1 0.5 0.5 0.5 0.5\n")
    write_text(tmp_path / "train/labels/x2.txt", "")
    write_text(tmp_path / "val/labels/x1.txt", "0 0.1 0.1 0.5 0.1 0.5 0.3\n")
    return tmp_path


NAMES = [
    ("data.yaml", "train: a\nnames: [crack, 'hole']\nnc: 2\n"),
    ("data.yaml", "names:\n  - crack  # thin\n  - hole\nnc: 2\n"),
    ("data.yaml", 'names:\n  0: crack\n  1: "hole"\n\ntrain: x\n'),
    ("data.yaml", "names: {0: crack, 1: hole}\n"),
    ("data.yaml", "names: [crack,  # the long, thin ones\n  hole]\n"),
    ("data.yaml", "names:\n  # of two kinds\n  0: crack\n\n  1: hole\n"),
    ("train/labels/classes.txt", "crack\nhole\n"),
    ("obj.names", "crack\nhole\n"),
]


@pytest.mark.parametrize(("file", "text"), NAMES)
def test_yolo(yolo, file, text):
    write_text(yolo / file, text)
    layout = read_layout(yolo)
    assert layout.kind == "yolo"
    assert labels(layout) == {"train/images/x1.png": "hole", "val/images/x1.png": "crack"}
    assert layout.entries[0].boxes == [("crack", 27, 16, 33, 24), ("hole", 15, 10, 45, 30)]
    assert layout.entries[1].boxes == [("crack", 6, 4, 30, 12)]
    assert "no box that tells its class" in reason(layout, "x2.png")
    assert labels(read_layout(yolo, normal_class="none"))["train/images/x2.png"] == "none"


def test_names_of_yolo_classes_may_hold_anything(yolo):
    write_text(yolo / "data.yaml", """names: ["crack, long [edge]", 'hole''s']\n""")
    assert set(labels(read_layout(yolo)).values()) == {"crack, long [edge]", "hole's"}


def test_a_yaml_file_that_would_take_long_to_read_is_reported(yolo):
    write_text(yolo / "data.yaml", "names: [crack, hole]\n" + "#" * 2**18)
    layout = read_layout(yolo)
    assert "over 131072 characters" in reason(layout, "data.yaml")
    assert set(labels(layout).values()) == {"0", "1"}


def test_yolo_files_that_do_not_fit_are_reported(yolo):
    write_text(yolo / "classes.txt", "crack\nhole\n")
    write_text(yolo / "train/labels/x2.txt", "0 nan 0.5 0.1 0.2\n7 0.5 0.5 0.1 0.2\n")
    write_text(yolo / "train/labels/gone.txt", "0 0.5 0.5 0.1 0.2\n")
    write_text(yolo / "val/labels/x1.txt", "not of numbers")
    (yolo / "data.yaml").write_bytes(b"\xffnames: [")
    layout = read_layout(yolo)
    assert "no image here" in reason(layout, "gone.txt")
    assert "is no YOLO file" in reason(layout, "val/labels/x1.txt")
    assert layout.notes == [
        "1 box left out, of no known class: x2.txt",
        "1 box left out, not finite: x2.txt",
    ]


def test_label_files_of_which_none_can_be_read_are_reported(tmp_path):
    write(tmp_path, "crack/images/1.png", "hole/images/1.png")
    write_text(tmp_path / "crack/labels/1.txt", "0,0.5,0.5,0.1,0.1")
    layout = read_layout(tmp_path)
    assert len(layout.entries) == 2
    assert "is no YOLO file" in reason(layout, "1.txt")


def test_yolo_without_names_or_with_two_lists_of_them(yolo):
    layout = read_layout(yolo)
    assert set(labels(layout).values()) == {"0", "1"}
    assert "they are numbers" in layout.notes[0]
    write_text(yolo / "classes.txt", "crack\nhole\n")
    write_text(yolo / "data.yaml", "names: [hole, crack]\n")
    with pytest.raises(UserError, match="name different classes"):
        read_layout(yolo)


# Tables


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8-sig"), (";", "cp1252")])
def test_csv(tmp_path, separator, encoding):
    write(tmp_path, "a.png", "b.png", "c.png", "sub/d.png")
    rows = ["Path,label,xmin,ymin,xmax,ymax", "a.png,Größe,1,2,9,9", "a.png,dent,0,0,30,30"]
    rows += ["b.png,dent", "c.png", "sub\\d.png,Größe,x,1,2,3"]
    text = "\n".join(rows).replace(",", separator)
    write_text(tmp_path / "list.csv", text, encoding)
    layout = read_layout(tmp_path)
    assert layout.kind == "csv"
    assert labels(layout) == {"a.png": "dent", "b.png": "dent", "sub/d.png": "Größe"}
    assert boxes(layout)["a.png"] == [("Größe", 1, 2, 9, 9), ("dent", 0, 0, 30, 30)]
    assert "named by no file" in reason(layout, "c.png")
    assert "1 box left out, not finite: list.csv" in layout.notes
    assert "has 1 rows without path or label" in reason(layout, "list.csv")


def test_two_formats_that_give_classes_are_refused(tmp_path):
    write(tmp_path, "a.png", "b.png")
    write_text(tmp_path / "list.csv", "path,label\na.png,crack\nb.png,hole\n")
    annotations = [(0, 0, [1, 1, 9, 9]), (1, 1, [1, 1, 9, 9])]
    write_text(tmp_path / "x.json", coco(["a.png", "b.png"], annotations))
    with pytest.raises(UserError, match=r"'coco'.*'csv'.*LAYOUT"):
        read_layout(tmp_path)
    assert read_layout(tmp_path, "csv").kind == "csv"


# Anything

VALUE = st.one_of(
    st.floats(), st.integers(), st.text(max_size=3), st.none(), st.just(10**400), st.just([])
)
RECORD = st.dictionaries(
    st.sampled_from(["id", "name", "file_name", "image_id", "category_id", "bbox"]),
    VALUE | st.sampled_from(["1.png", 0, 1]) | st.lists(VALUE, min_size=3, max_size=5),
)
COCO = st.dictionaries(
    st.sampled_from(["images", "annotations", "categories"]), st.lists(RECORD, max_size=4) | VALUE
)
CELLS = st.lists(st.one_of(st.sampled_from(["1.png", "a", "0", "nan", "1e400", "-3"]), st.text()))
TEXT = st.one_of(
    st.text(),
    COCO.map(json.dumps),
    st.tuples(*[VALUE] * 4).map(lambda edges: voc(("a", *edges))),
    CELLS.map(" ".join),
    CELLS.map(lambda cells: "path,label,xmin,ymin,xmax,ymax\n" + ",".join(cells)),
    CELLS.map(lambda cells: "names: [" + ", ".join(cells)),
)


@pytest.fixture(scope="module")
def two_images(tmp_path_factory):
    return write(tmp_path_factory.mktemp("any"), "a/images/1.png", "b/images/2.png")


@given(
    st.sampled_from(["a/images/1.xml", "x.json", "a/labels/1.txt", "x.csv", "data.yaml"]),
    TEXT.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(),
)
@settings(deadline=None, max_examples=150)
def test_any_annotation_is_understood_reported_or_a_user_error(two_images, name, content):
    file = two_images / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    with contextlib.suppress(UserError):
        layout = read_layout(two_images)
        layout.describe().encode()
        for entry in layout.entries:
            for _, left, top, right, bottom in entry.boxes:
                assert 0 <= left < right <= 60
                assert 0 <= top < bottom <= 40
    file.unlink()
