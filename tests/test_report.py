"""What the demo shows as HTML: cards, the chosen image, tables, and the page of a session."""

import base64
import io
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pages import EVIL, Page, is_escaped
from PIL import Image

from nbutils import runs
from nbutils.apps import html, panel, report
from nbutils.apps.session import Entry, Session, Unreadable
from nbutils.data.synthetic import encode_png
from nbutils.inference.defects import Defect
from nbutils.inference.prediction import Prediction
from nbutils.inference.predictor import load_predictor

MODEL = f"{runs.REFERENCE}/mobilenet_v2"


@pytest.fixture(scope="module")
def predictor():
    return load_predictor(MODEL)


@pytest.fixture
def session(predictor, outputs):
    return Session(replace(predictor))


@pytest.fixture
def evil(gray):
    """An entry whose every text is `EVIL`, with a map and a box."""
    prediction = Prediction(
        {EVIL: 0.6, f"other {EVIL}": 0.4}, 2.0, (EVIL, f"other {EVIL}"), (EVIL,), 1.0,
        np.eye(8, dtype=np.float32)[..., None], (Defect(EVIL, 0.9, 4, 5, 30, 20),),
    )  # fmt: skip
    return Entry(EVIL, gray, prediction, EVIL, EVIL, "", EVIL)


def pixels(url):
    """Return the image of a data URL."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_a_card_marks_decisions_by_words_and_gives_reasons_first(session, gray):
    entry = session.predict("strip.png", encode_png(gray))
    for reasons, sign in (((), "✓ accept"), (("too dark", "too new"), "⚠ review")):
        probabilities = entry.prediction.probabilities
        entry.prediction = Prediction(probabilities, 1.0, ("patches", "scratches"), reasons)
        page = Page(report.card(entry, top=2))
        assert f"strip.png\n{sign}{'; '.join(reasons)}" in page.text
        assert page.text.index(sign) < page.text.index("confidence")
        assert "could also be" in page.text
        assert page.attributes["class"].count("row") == 2
        assert "64 x 48 gray" in page.text
        assert page.attributes["alt"] == ["strip.png, image"]


def test_a_card_without_a_policy_has_no_novelty(gray):
    shown = report.card(Entry("a.png", gray, Prediction({"a": 1.0})), top=1)
    assert "novelty" not in shown
    assert "no thresholds to review it by" in shown


def test_a_map_is_clear_where_there_is_no_defect():
    heat = np.zeros((4, 5, 2), np.float32)
    heat[1, 2, 1] = 1
    drawn = pixels(html.encode_map(heat))
    assert drawn.shape == (4, 5, 4)
    assert drawn[..., 3].astype(bool).sum() == 1
    assert drawn[1, 2].tolist() == [252, 255, 164, round(255 * html.OPACITY)]


def test_small_images_are_sent_as_they_are_and_large_ones_shrunk(gray):
    assert np.array_equal(pixels(html.encode(gray)), gray)
    large = np.zeros((300, 1200), np.uint8)
    assert pixels(html.encode(large, 600)).shape == (150, 600)
    assert pixels(html.encode(large)).shape == (300, 1200)
    longer_than_jpeg_allows = np.full((66_000, 20), 90, np.uint8)
    assert pixels(html.encode(longer_than_jpeg_allows)).shape[0] == html.MAX_SIDE


def test_boxes_lie_where_the_defects_are(session, evil):
    page = Page(report.detail(evil, 1, 1, session))
    [style] = [value for value in page.attributes["style"] if "width: 40.625%" in value]
    shares = [float(share) for share in re.findall(r"([\d.]+)%", style)]
    assert shares == pytest.approx([6.25, 10.4167, 40.625, 31.25], abs=1e-3)
    assert page.attributes["class"].count("defect") == 1
    assert page.attributes["class"].count("map") == 1
    assert page.attributes["class"].count("legend") == 1


def test_without_a_map_nothing_is_drawn_but_the_image(session, gray, evil):
    plain = Entry("a.png", gray, Prediction({"a": 1.0}, 1.0, reasons=()))
    for entry, with_map in ((plain, True), (evil, False)):
        page = Page(report.detail(entry, 1, 1, session, with_map))
        assert page.tags.count("img") == 1
        assert "legend" not in page.attributes["class"]


def test_zoomed_it_is_one_picture_of_all_pixels(session):
    large = np.zeros((400, 3000), np.uint8)
    entry = Entry("strip.png", large, Prediction({"a": 1.0}, 1.0, reasons=()))
    sizes = []
    for zoomed in (False, True):
        page = Page(report.detail(entry, 1, 1, session, True, zoomed))
        [source] = page.attributes["src"]
        sizes.append(pixels(source).shape[1])
    assert sizes == [report.PREVIEW, 3000]


def test_the_detail_says_what_speaks_for_and_against(session, predictor, gray):
    classes = predictor.classes
    shares = dict(zip(classes, (0.6, 0.38, 0.008, 0.006, 0.004, 0.002), strict=True))
    limit = predictor.policy.thresholds.novelty
    entry = Entry("a.png", gray, Prediction(shares, limit + 1, (), ("too new", "too dark")))
    page = Page(report.detail(entry, 2, 9, session))
    assert "2 of 9" in page.text
    assert "⚠ To review too new; too dark" in page.text
    assert "4 under 1 %" in page.text
    assert f"limit {limit:.2f}" in page.text
    assert "farther from the training images than the limit" in page.text
    entry.prediction = Prediction(shares, 1.0, (), ())
    page = Page(report.detail(entry, 2, 9, session))
    assert "✓ Accepted" in page.text
    assert "like the training images" in page.text


def test_a_static_preview_shows_files_that_cannot_be_read(session, gray):
    files = [("text.jpg", b"none"), ("strip.png", encode_png(gray))]
    page = Page(report.static_preview(session, files))
    assert "text.jpg is not a readable image" in page.text
    assert page.attributes["class"].count("row") == 3
    assert page.tags[0] == "style"


def downloads(links):
    """Return the table and the page behind the links of an export."""
    csv, html = (base64.b64decode(part) for part in re.findall(r"base64,([\w+/=]+)", links))
    return pd.read_csv(io.BytesIO(csv)), html.decode()


def test_an_export_is_a_table_and_a_page_that_holds_together(session, gray):
    first = session.predict("a.png", encode_png(gray))
    session.predict("b.jpg", b"text")
    last = session.predict("c.png", encode_png(255 - gray))
    first.prediction = replace(first.prediction, reasons=("odd",))
    last.prediction = replace(last.prediction, reasons=())
    session.review(last, "patches")
    table, html = downloads(report.export(session))
    assert table["path"].tolist() == ["a.png", "b.jpg", "c.png"]
    assert table.columns.tolist() == session.table().columns.tolist()
    page = Page(html)
    assert "3 images" in page.text
    assert "1 to review" in page.text
    assert "1 unreadable" in page.text
    assert "Review queue (1)" in page.text
    assert "Reviewed by a person (1)" in page.text
    assert "test images of NEU-DET right" in page.text
    assert all(source.startswith("data:") for source in page.attributes["src"])
    assert "href" not in page.attributes
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", page.text)


def test_all_that_is_shown_is_escaped(session, evil):
    session.entries += [evil, Unreadable(EVIL, f"{EVIL} is damaged")]
    for entry in session.entries:
        assert is_escaped(report.card(entry, top=2))
        assert is_escaped(report.detail(entry, 1, 1, session))
    page = Page(report.card(evil, top=2))
    assert page.attributes["alt"][0] == f"{EVIL}, with its defects"
    assert is_escaped(report.table(session.entries))
    assert is_escaped(report.session_page(session))
    evil.corrected = EVIL
    assert is_escaped(report.detail(evil, 1, 1, session))
    assert is_escaped(report.session_page(session))
    assert is_escaped(report.message(EVIL, "error"))


def test_the_panel_escapes_models_and_data_and_errors(outputs):
    shutil.copytree(runs.find_model(MODEL), outputs / EVIL.replace("/", "_") / "model")
    results = {"data": EVIL, "test": {"accuracy": 1, "images": 3, "accuracy_interval": [0.5, 1]}}
    model = f"{EVIL.replace('/', '_')}/model"
    runs.write_json(results, runs.find_model(model) / runs.METRICS)
    opened = panel.Panel(model, root=outputs)
    shown = Page(opened.controls.facts.value)
    assert EVIL in shown.attributes["title"][0]
    assert "script" not in shown.tags
    opened.controls.path.value = EVIL
    opened._read_folder()
    opened.worker.jobs.join()
    assert is_escaped(opened.controls.status.value)
    opened.add_files([(f"{EVIL}.png", b"text")])
    opened.worker.jobs.join()
    opened.refresh()
    assert is_escaped(opened.controls.detail.value)
