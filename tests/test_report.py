"""What is shown as HTML: cards, tables, and the page of a batch inspection."""

import base64
import io
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.apps import panel, report
from nbutils.apps.session import Entry, Session, Unreadable
from nbutils.data.synthetic import encode_png
from nbutils.inference import batch
from nbutils.inference.predictor import Prediction, error_row, load_predictor
from nbutils.uncertainty import drift
from nbutils.uncertainty.review import load_policy

EVIL = '<script>alert("1")\'&amp;<img onerror=x>'


class Page(HTMLParser):
    """The tags, attributes and text of HTML, as a browser reads it."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.text = [], {}, ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, []).append(value)

    def handle_data(self, data):
        self.text += data


def is_escaped(html):
    """Tell whether `EVIL` is in HTML, as text alone."""
    page = Page(html)
    return "script" not in page.tags and "onerror" not in page.attributes and EVIL in page.text


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


@pytest.fixture
def inspect(trained, gray, tmp_path, monkeypatch):
    """What writes the files of an inspection: rows (path, confidence, novelty, reasons)."""
    monkeypatch.setattr(report, "Explainer", NoMaps)
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
    monkeypatch.setattr(report, "CHUNK_ROWS", 2)
    folder = inspect(ROWS, ["cut.png", "gone.png"])
    summary = report.summarize(folder, 3)
    paths = [path.rpartition("/")[2] for path in summary.queue["path"]]
    assert paths == ["newer.png", "new.png", "more_doubtful.png"]
    assert summary.n_unlike == 2
    assert summary.counts.sum().to_dict() == {"accept": 1, "review": 4}
    assert (summary.n_errors, summary.errors) == (2, ["cut.png is damaged", "gone.png is damaged"])
    assert summary.drift.attrs["images"] == 5


def test_a_page_holds_all_that_it_shows(inspect):
    folder = inspect(ROWS, ["cut.png"], images=6, seconds=2.0, notice="SYNTHETIC images")
    written = report.write(folder, report.summarize(folder, 2))
    page = Page(written.read_text(encoding="utf-8"))
    assert written == folder / report.PAGE
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
    text = Page(report.write(folder, report.summarize(folder, 1)).read_text("utf-8")).text
    assert "Review queue (0)" in text
    assert "1 more are in" in text


def test_images_that_are_gone_are_said_to_be(inspect, tmp_path):
    folder = inspect(ROWS)
    (tmp_path / "new.png").unlink()
    (tmp_path / "newer.png").write_bytes(b"text")
    text = Page(report.write(folder, report.summarize(folder, 9)).read_text("utf-8")).text
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
    html = report.write(folder, report.summarize(folder, 5)).read_text(encoding="utf-8")
    assert is_escaped(html)
    # title and heading, run and model, backend, notice, counts, name, reason, class, bar, error
    assert Page(html).text.count(EVIL) == 12
