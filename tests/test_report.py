"""What the demo shows as HTML: cards and tables."""

import base64
import io
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from pages import EVIL, Page, is_escaped

from nbutils import runs
from nbutils.apps import panel, report
from nbutils.apps.session import Entry, Session, Unreadable
from nbutils.data.synthetic import encode_png
from nbutils.inference.predictor import Prediction, load_predictor


class NoMaps:
    """An explainer that finds nothing."""

    def __init__(self, model=None):
        pass

    def heatmaps(self, grays, labels):
        return np.zeros((len(grays), 4, 4), np.float32)


@pytest.fixture
def session(trained, outputs):
    return Session(load_predictor(trained), NoMaps())


@pytest.fixture
def evil(gray):
    """An entry whose every text is `EVIL`, with a map."""
    prediction = Prediction(
        {EVIL: 0.6, f"other {EVIL}": 0.4}, 2.0, (EVIL, f"other {EVIL}"), (EVIL,)
    )
    return Entry(EVIL, gray, prediction, EVIL, EVIL, np.eye(32, dtype=np.float32))


def test_a_card_marks_decisions_by_words_and_gives_reasons_first(session, gray):
    entry = session.predict("strip.png", encode_png(gray))
    for reasons, sign in (((), "✓ accept"), (("too dark", "too new"), "⚠ review")):
        probabilities = entry.prediction.probabilities
        entry.prediction = Prediction(probabilities, 1.0, ("patches", "scratches"), reasons)
        shown = report.card(entry, top=2)
        page = Page(shown)
        assert f"strip.png\n{sign}{'; '.join(reasons)}" in page.text
        assert page.text.index(sign) < page.text.index("confidence")
        assert "could also be" in page.text
        assert page.attributes["class"].count("row") == 2
        assert "64 x 48 gray, resized to 32 x 32" in page.text
        assert page.attributes["alt"] == ["strip.png, image"]


def test_a_card_without_a_policy_has_no_novelty(gray):
    shown = report.card(Entry("a.png", gray, Prediction({"a": 1.0})), top=1)
    assert "novelty" not in shown
    assert "no thresholds to review it by" in shown


def test_the_overlay_colours_the_evidence_alone(gray):
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[0, 0] = 1
    pixels = report.overlay(gray, heatmap, 1.0)
    assert pixels.shape == (*gray.shape, 3)
    assert (pixels[-1, -1] == gray[-1, -1]).all()
    assert len(set(pixels[0, 0].tolist())) > 1


def test_a_static_preview_shows_files_that_cannot_be_read(session, gray):
    files = [("text.jpg", b"none"), ("strip.png", encode_png(gray))]
    page = Page(report.static_preview(session, files, 3))
    assert "text.jpg is not a readable image" in page.text
    assert page.attributes["class"].count("row") == 3
    assert page.tags[0] == "style"


def test_the_table_downloads_as_csv(session, gray):
    assert "No image yet" in report.table(session)
    for name, data in (("a.png", encode_png(gray)), ("b.jpg", b"text")):
        session.predict(name, data)
    shown = report.table(session)
    assert "could not be read" in shown
    table = pd.read_csv(io.BytesIO(base64.b64decode(re.search(r"base64,([\w+/=]+)", shown)[1])))
    assert table["path"].tolist() == ["a.png", "b.jpg"]
    assert table.columns.tolist() == session.table().columns.tolist()


def test_cards_and_tables_escape_all_that_they_show(session, evil):
    session.predictor.classes = tuple(evil.prediction.probabilities)
    session.entries += [evil, Unreadable(EVIL, f"{EVIL} is damaged")]
    for entry in session.entries:
        assert is_escaped(report.card(entry, top=2))
    page = Page(report.card(evil, top=2))
    assert page.attributes["alt"] == [f"{EVIL}, with its activation map"]
    assert page.text.count(EVIL) == 7  # name, size, reason, class, alternative, bars
    assert Page(report.table(session)).text.count(EVIL) == 4  # two names, class, correction
    assert is_escaped(report.table(session))
    assert is_escaped(report.message(EVIL, "error"))


def test_the_panel_escapes_models_and_data_and_errors(trained, outputs, monkeypatch):
    shutil.copytree(trained, outputs / EVIL / EVIL)
    results = {"data": EVIL, "test": {"accuracy": 1, "images": 3, "accuracy_interval": [0.5, 1]}}
    runs.write_json(results, outputs / EVIL / EVIL / runs.METRICS)
    monkeypatch.setattr("nbutils.apps.session.Explainer", NoMaps)
    opened = panel.Panel(f"{EVIL}/{EVIL}", top=3, seed=0)
    assert is_escaped(opened.facts.value)
    assert Page(opened.facts.value).text.count(EVIL) == 3  # run, model, data
    opened.folder.value = EVIL
    opened.read.click()
    assert is_escaped(opened.status.value)
    assert "is no file, no folder" in opened.status.value
    opened.predict([(f"{EVIL}.png", b"text")])
    opened.worker.join()
    assert is_escaped(opened.cards.children[0].children[0].value)
