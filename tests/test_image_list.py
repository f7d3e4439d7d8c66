"""Sources of images: files, folders, patterns and tables, listed in order."""

import os
import shutil

import pandas as pd
import pytest
from PIL import Image

from nbutils.data import image_list
from nbutils.disk import UserError


@pytest.fixture
def tree(tmp_path, gray):
    """Images in two folders, one below the other, and a file that is none."""
    folder = tmp_path / "tree"
    (folder / "b").mkdir(parents=True)
    for name in ("b/2.png", "b/1.PNG", "c.png", "a.png"):
        Image.fromarray(gray).save(folder / name, "PNG")
    (folder / "notes.txt").write_text("none")
    return folder


def names(paths, folder):
    return [path.removeprefix(f"{folder}/") for path in paths]


def test_a_folder_is_listed_by_name_with_all_below_it(tree):
    listed = names(image_list.list_images([str(tree)]), tree)
    assert listed == ["a.png", "b/1.PNG", "b/2.png", "c.png"]


def test_several_sources_are_listed_one_after_the_other(tree, monkeypatch):
    table = tree.parent / "images.csv"
    pd.DataFrame({"path": ["tree/c.png", str(tree / "a.png")]}).to_csv(table, index=False)
    monkeypatch.chdir(tree)
    sources = ["c.png", "b/*.png", str(table), "b"]
    assert names(image_list.list_images(sources), tree) == [
        "c.png", "b/2.png", "c.png", "a.png", "b/1.PNG", "b/2.png",
    ]  # fmt: skip


def test_a_pattern_may_match_a_link_to_itself(tree):
    (tree / "loop.png").symlink_to("loop.png")
    listed = image_list.list_images([str(tree / "*.png")])
    assert names(listed, tree) == ["a.png", "c.png", "loop.png"]


def test_a_pattern_is_listed_by_name_and_reaches_below(tree):
    pattern = str(tree / "**" / "*.png")
    assert names(image_list.list_images([pattern]), tree) == ["a.png", "b/2.png", "c.png"]


def test_a_file_is_listed_whatever_its_name_is(tree):
    shutil.copy(tree / "a.png", tree / "strip [1].dat")
    assert names(image_list.list_images([str(tree / "strip [1].dat")]), tree) == ["strip [1].dat"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "'' is no file, no folder, and no pattern"),
        ("none.png", "none.png is no file"),
        ("none.csv", "none.csv is no file"),
        ("none*.png", r"none\*.png holds no images"),
        ("empty", "empty holds no images"),
        ("notes.csv", "has no column 'path'"),
        ("~nouser/x", "~nouser/x is no file"),
        ("x" * 300, "xxx is no file"),
        ("nul\0", r"'nul\\x00' is no file"),
    ],
)
def test_one_wrong_source_of_several_is_an_error_and_nothing_is_written(
    tree, wrong, message, monkeypatch
):
    monkeypatch.chdir(tree.parent)
    (tree.parent / "empty").mkdir()
    (tree.parent / "notes.csv").write_text("name\n1.png\n")
    with pytest.raises(UserError, match=message):
        image_list.list_images([str(tree), wrong])
    with pytest.raises(UserError, match=message):
        image_list.write_list([str(tree), wrong], tree / "images.txt")
    assert not list(tree.glob("*images.txt"))


def test_no_source_is_an_error():
    with pytest.raises(UserError, match="no source is named"):
        image_list.list_images([])


def test_tables_of_spreadsheets(tmp_path):
    table = tmp_path / "table.csv"
    table.write_bytes("path\ngrün.png\n".encode("utf-8-sig"))
    assert list(image_list.list_images([str(table)])) == [str(tmp_path / "grün.png")]
    table.write_bytes(b"Line;Path\n1;a.png\n")
    assert list(image_list.list_images([str(table)])) == [str(tmp_path / "a.png")]
    for content, message in (
        ("path\ngrün.png\n".encode("cp1252"), "no CSV file in UTF-8"),
        (b"line,path\n1,a.png\n2\n", "no path in line 3"),
    ):
        table.write_bytes(content)
        with pytest.raises(UserError, match=message):
            list(image_list.list_images([str(table)]))


def test_a_table_may_name_files_whose_names_are_no_text(tmp_path):
    file = tmp_path / os.fsdecode(b"gr\xfcn.png")
    file.touch()
    table = tmp_path / "table.csv"
    table.write_bytes(b"path\ngr\xfcn.png\n")
    assert list(image_list.list_images([str(table)])) == [str(file)]


def test_a_list_is_read_from_where_it_was_left(tree, tmp_path, gray):
    Image.fromarray(gray).save(tree / "line\nbreak.png")
    file = tmp_path / "images.txt"
    image_list.write_list([str(tree)], file)
    assert image_list.count_list(file) == 5
    assert names(image_list.read_list(file, 3), tree) == ["c.png", "line\nbreak.png"]
