"""The table of defects beside that of images: a row a defect, never twice."""

import csv
from dataclasses import replace

import pytest

from nbutils import runs
from nbutils.disk import UserError
from nbutils.inference import batch
from nbutils.inference.defects import Defect
from nbutils.inference.prediction import DEFECT_COLUMNS
from nbutils.inference.predictor import load_predictor
from nbutils.uncertainty import drift

FOUND = (Defect("inclusion", 0.9, 1, 2, 11, 22), Defect("patches", 0.5, 0, 0, 4, 4))


class Locating:
    """A predictor that finds two defects in dark images, and none in the others."""

    def __init__(self, predictor):
        self.predictor = predictor

    def __getattr__(self, name):
        return getattr(self.predictor, name)

    def predict_and_embed(self, grays):
        grays = list(grays)
        for gray, (prediction, embedding) in zip(
            grays, self.predictor.predict_and_embed(grays), strict=True
        ):
            yield replace(prediction, defects=FOUND if gray.mean() < 128 else ()), embedding


@pytest.fixture
def inspect(trained, stand_in, tmp_path, monkeypatch):
    """What inspects the stand-in into a folder, by a model that locates."""
    located = Locating(load_predictor(trained)), drift.load_reference(trained)
    monkeypatch.setattr(batch, "_loaded", lambda *arguments: located)

    def run(name):
        folder = tmp_path / name
        batch.inspect([str(stand_in / "IMAGES")], folder, trained, processes=1)
        return folder

    return run


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_each_defect_is_a_row_in_the_order_of_the_images(inspect):
    folder = inspect("run")
    images, rows = rows_of(folder / runs.INSPECTIONS), rows_of(folder / runs.DEFECTS)
    assert {image["defects"] for image in images} == {"0", "2"}
    expected = [image["path"] for image in images for _ in range(int(image["defects"]))]
    assert [row["path"] for row in rows] == expected
    assert list(rows[0]) == list(DEFECT_COLUMNS)
    assert list(rows[0].values())[1:] == ["inclusion", "0.9", "1", "2", "11", "22", "200"]


@pytest.mark.parametrize("images_kept", [0.0, 0.6])
def test_after_an_interruption_no_defect_is_there_twice(inspect, images_kept):
    whole, cut = inspect("whole"), inspect("cut")
    content = (cut / runs.INSPECTIONS).read_bytes()
    (cut / runs.INSPECTIONS).write_bytes(content[: int(images_kept * len(content))])
    with (cut / runs.DEFECTS).open("ab") as file:
        file.write(b"torn")  # of a chunk whose images have no rows
    inspect("cut")
    assert (cut / runs.DEFECTS).read_text() == (whole / runs.DEFECTS).read_text()
    assert len(rows_of(cut / runs.INSPECTIONS)) == len(rows_of(whole / runs.INSPECTIONS))


def test_defects_that_are_lost_are_said_to_be(inspect):
    folder = inspect("run")
    content = (folder / runs.INSPECTIONS).read_bytes()
    (folder / runs.INSPECTIONS).write_bytes(content[:-10])
    (folder / runs.DEFECTS).write_text("")
    with pytest.raises(UserError, match=r"defects\.csv lacks defects"):
        inspect("run")
