"""The page of a batch inspection."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from pages import EVIL, Page, is_escaped

from nbutils import runs
from nbutils.apps import inspection_page
from nbutils.data.synthetic import encode_png
from nbutils.inference import batch
from nbutils.inference.predictor import Prediction, error_row, load_predictor
from nbutils.uncertainty import drift
from nbutils.uncertainty.review import load_policy


class NoMaps:
    """An explainer that finds nothing."""

    def __init__(self, model=None):
        pass

    def heatmaps(self, grays, labels):
        return np.zeros((len(grays), 4, 4), np.float32)


@pytest.fixture
def inspect(trained, gray, tmp_path, monkeypatch):
    """What writes the files of an inspection: rows (path, confidence, novelty, reasons)."""
    monkeypatch.setattr(inspection_page, "Explainer", NoMaps)
    policy = load_policy(trained)
    classes = load_predictor(trained).classes

    def write(rows, errors=(), model=trained, **facts):
        folder = tmp_path / "inspection"
        folder.mkdir()
        table = []
        for path, confidence, novelty, reasons in rows:
            (tmp_path / path).write_bytes(encode_png(gray))
            rest = (1 - confidence) / (len(classes) - 1)
            probabilities = dict.fromkeys(classes, rest) | {classes[0]: confidence}
            novelty *= policy.thresholds.novelty
            prediction = Prediction(probabilities, novelty, (classes[0],), reasons)
            described = dict.fromkeys(drift.PER_IMAGE, 1.0)
            table.append(prediction.to_row(tmp_path / path) | described)
        table += [error_row(path, f"{path} is damaged", classes) for path in errors]
        columns = batch.table_columns(classes)
        runs.write_csv(pd.DataFrame(table, columns=columns), folder / runs.INSPECTIONS)
        known = {"sources": ["shift_1", "shift_2"], "model": str(model), "backend": "litert"}
        runs.write_json(known | facts, folder / runs.INSPECTION)
        return folder

    return write


ROWS = [  # path, confidence, novelty over its threshold, reasons
    ("sure.png", 0.9, 0.5, ()),
    ("doubtful.png", 0.4, 0.5, ("confidence is low",)),
    ("new.png", 0.9, 1.5, ("unlike the training images",)),
    ("more_doubtful.png", 0.3, 0.5, ("confidence is low",)),
    ("newer.png", 0.4, 2.0, ("confidence is low", "unlike the training images")),
]


def test_the_review_queue_begins_with_what_is_most_doubtful(inspect, monkeypatch):
    monkeypatch.setattr(inspection_page, "CHUNK_ROWS", 2)
    folder = inspect(ROWS, ["cut.png", "gone.png"])
    summary = inspection_page.summarize(folder, 3)
    paths = [path.rpartition("/")[2] for path in summary.queue["path"]]
    assert paths == ["newer.png", "new.png", "more_doubtful.png"]
    assert summary.n_unlike == 2
    assert summary.counts.sum().to_dict() == {"accept": 1, "review": 4}
    assert (summary.n_errors, summary.errors) == (2, ["cut.png is damaged", "gone.png is damaged"])
    assert summary.drift.attrs["images"] == 5


def test_a_page_holds_all_that_it_shows(inspect):
    folder = inspect(ROWS, ["cut.png"], images=6, seconds=2.0, notice="SYNTHETIC images")
    written = inspection_page.write(folder, inspection_page.summarize(folder, 2))
    page = Page(written.read_text(encoding="utf-8"))
    assert written == folder / inspection_page.PAGE
    sources = page.attributes["src"]
    assert len(sources) == 3  # drift, and two cards
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "too few to test for drift" in page.attributes["alt"][0]
    assert (folder / "figures" / "drift.png").exists()
    assert re.search(r"Date\d{4}-\d\d-\d\d \d\d:\d\d", page.text.replace("\n", ""))
    for text in ("shift_1, shift_2", "custom_cnn (litert)", "6: 1 accepted,\n4 to review, 1 could",
                 "3 a second", "Review queue (4)", "2 more are in inspections.csv",
                 "SYNTHETIC images", "cut.png is damaged"):  # fmt: skip
        assert text in page.text
    assert page.text.index("newer.png") < page.text.index("/new.png")


def test_an_inspection_of_nothing_readable_has_a_page(inspect):
    folder = inspect([], ["cut.png", "gone.png"])
    text = Page(
        inspection_page.write(folder, inspection_page.summarize(folder, 1)).read_text("utf-8")
    ).text
    assert "Review queue (0)" in text
    assert "1 more are in" in text


def test_images_that_are_gone_are_said_to_be(inspect, tmp_path):
    folder = inspect(ROWS)
    (tmp_path / "new.png").unlink()
    (tmp_path / "newer.png").write_bytes(b"text")
    text = Page(
        inspection_page.write(folder, inspection_page.summarize(folder, 9)).read_text("utf-8")
    ).text
    assert text.count("no longer readable") == 2
    assert "/doubtful.png" in text


def test_the_page_escapes_all_that_it_shows(inspect, trained, tmp_path, outputs):
    model = outputs / EVIL / EVIL
    shutil.copytree(trained, model)
    rows = [(f"{EVIL}.png", 0.4, 2.0, (EVIL,))]
    facts = {"sources": [EVIL], "backend": EVIL, "notice": EVIL}
    folder = inspect(rows, [EVIL], model, **facts)
    table = runs.read_csv(folder / runs.INSPECTIONS).assign(predicted=EVIL, prediction_set=EVIL)
    table = table.rename(columns={"p_crazing": f"p_{EVIL}"})
    runs.write_csv(table, folder / runs.INSPECTIONS)
    html = inspection_page.write(folder, inspection_page.summarize(folder, 5)).read_text(
        encoding="utf-8"
    )
    assert is_escaped(html)
    # title and heading, run and model, backend, notice, counts, name, reason, class, bar, error
    assert Page(html).text.count(EVIL) == 12
