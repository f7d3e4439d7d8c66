"""The demo without a browser: session, corrections, and the Streamlit page."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.apps.session import ALL, Session
from nbutils.data import corrections, images, labels
from nbutils.data.synthetic import encode_png
from nbutils.inference.prediction import row_columns
from nbutils.inference.predictor import load_predictor

MODEL = f"{runs.REFERENCE}/mobilenet_v2"  # needs no TensorFlow


@pytest.fixture
def session(outputs, gray):
    """Two images and a broken file between them, classified."""
    begun = Session(load_predictor(MODEL))
    begun.predict("a.png", encode_png(gray))
    begun.predict("b.jpg", b"text")
    begun.predict("c.png", encode_png(255 - gray))
    return begun


@pytest.fixture
def file(session):
    """Where the corrections of the session's model are kept."""
    return corrections.corrections_file(session.predictor.name)


def names(entries):
    return [entry.name for entry in entries]


def change_prediction(entry, **facts):
    """Change what was predicted of an image."""
    entry.prediction = replace(entry.prediction, **facts)


def test_a_broken_file_keeps_its_place_and_hides_no_other(session):
    table = session.table()
    assert table["path"].tolist() == ["a.png", "b.jpg", "c.png"]
    assert table["error"].tolist()[::2] == ["", ""]
    assert "b.jpg is not a readable image" in table["error"][1]


def test_filters_hold_for_unreadable_files_too(session):
    first, broken, _ = session.entries
    change_prediction(first, reasons=())
    label = first.prediction.label
    other = next(name for name in session.predictor.classes if name not in session.classes())
    assert names(session.select("by file name")) == ["a.png", "c.png", "b.jpg"]
    assert session.select("by file name", state="unreadable") == [broken]
    assert session.select("by file name", other) == []
    assert first in session.select("by file name", label)
    assert broken not in session.select("by file name", label)
    assert first in session.select("by file name", ALL, "accept")
    assert first not in session.select("by file name", ALL, "review")


def test_the_most_doubtful_comes_first(session):
    first, _, second = session.entries
    change_prediction(first, risk=0.2)
    change_prediction(second, risk=0.9)
    assert names(session.select("most doubtful first")) == ["c.png", "a.png", "b.jpg"]
    session.review(second, "patches")
    assert names(session.select("most doubtful first")) == ["c.png", "a.png", "b.jpg"]


def test_the_same_file_twice_is_one_entry(session, gray):
    assert session.predict("a.png", encode_png(gray)) is session.entries[0]
    session.predict("b.jpg", b"text")
    assert len(session.entries) == 3
    session.predict("a.png", encode_png(gray // 2))
    session.predict("d.png", encode_png(gray))
    assert names(session.entries) == ["a.png", "b.jpg", "c.png", "a.png", "d.png"]


def test_a_large_image_is_the_same_from_its_temporary_file(session):
    large = np.random.default_rng(0).integers(0, 255, (1200, 1000), dtype=np.uint8)
    entry = session.predict("large.png", encode_png(large))
    assert isinstance(entry.gray, np.memmap)
    assert np.array_equal(entry.gray, large)
    assert entry.digest == images.pixel_hash(large)


def test_a_row_has_the_columns_of_every_table_and_those_of_a_session(session):
    table = session.table()
    classes = session.predictor.classes
    assert table.columns.tolist() == ["number", *row_columns(classes), "corrected"]
    assert table["number"].tolist() == [1, 2, 3]
    assert set(table["label"]) == {""}
    assert table["predicted"][0] == session.entries[0].prediction.label
    probabilities = table[[f"p_{name}" for name in classes]].iloc[[0, 2]].astype(float)
    assert probabilities.sum(axis=1).tolist() == pytest.approx([1, 1])


def test_a_csv_file_runs_no_formula_in_a_spreadsheet(session, gray):
    names = ["=HYPERLINK(1).png", "+1.png", "-2.png", "@sum.png", "a=b.png"]
    for name in names:
        session.predict(name, encode_png(gray))
    session.predict("=cmd.png", b"text")
    table = pd.read_csv(io.StringIO(session.to_csv()), keep_default_na=False)
    assert table["path"].tolist()[3:] == [
        *(f"'{name}" for name in names[:4]),
        "a=b.png",
        "'=cmd.png",
    ]
    assert table["error"].tolist()[-1].startswith("'=cmd.png is not")
    assert table.columns.tolist() == session.table().columns.tolist()
    assert table["novelty"][0] == f"{session.entries[0].prediction.novelty:.4f}"


def test_corrections_outlive_the_session_and_replace_each_other(session, file):
    entry = session.entries[0]
    session.review(entry, "patches")
    session.review(entry, "scratches")
    [row] = corrections.read(file).to_dict("records")
    assert row["corrected"] == "scratches"
    assert row["predicted"] == entry.prediction.label
    assert row["model"] == session.predictor.name
    assert row["sha256"] == images.pixel_hash(entry.gray)
    assert np.array_equal(images.decode(Path(row["path"]).read_bytes()), entry.gray)
    assert session.table()["corrected"].tolist() == ["scratches", "", ""]


def test_a_session_that_waited_knows_what_was_said_meanwhile(session, file):
    waiting = Session(session.predictor)  # as that of a kernel that is ready for the next visitor
    entry = session.entries[0]
    session.review(entry, "scratches")
    again = encode_png(entry.gray)
    assert waiting.predict("again.png", again).corrected == "scratches"
    file.unlink()
    assert waiting.predict("once_more.png", again).corrected == ""


def test_confirming_and_correcting_and_taking_back(session, file):
    first, _, second = session.entries
    change_prediction(first, reasons=("unsure",))
    change_prediction(second, reasons=())
    assert session.counts() == {"review": 1, "accept": 1, "unreadable": 1}
    session.review(first, first.prediction.label)
    session.review(second, labels.NONE)
    assert session.counts() == {"confirmed": 1, "corrected": 1, "unreadable": 1}
    assert names(session.select("as added", state="reviewed")) == ["a.png", "c.png"]
    assert session.undo() is second
    assert session.counts() == {"confirmed": 1, "accept": 1, "unreadable": 1}
    assert corrections.read(file)["corrected"].tolist() == [first.prediction.label]
    assert session.undo() is first
    assert session.undo() is None
    assert corrections.read(file).empty


def test_what_a_person_said_is_known_to_the_next_session(session, gray):
    session.review(session.entries[0], "patches")
    session.review(session.entries[2], "scratches")
    session.undo()
    after = Session(session.predictor)
    assert after.predict("again.png", encode_png(gray)).corrected == "patches"
    assert after.predict("other.png", encode_png(255 - gray)).corrected == ""


def test_a_doubtful_label_is_to_be_reviewed_and_can_be_confirmed(session, gray):
    entry = session.predict("suspect.png", encode_png(gray.T.copy()), "scratches")
    change_prediction(entry, reasons=())
    assert entry.state == "review"
    assert entry.proposed == "scratches"
    session.review(entry, "scratches")
    assert entry.state == "confirmed"
    session.review(entry, "patches")
    assert entry.state == "corrected"
    assert session.table()["label"].tolist()[-1] == "scratches"


def test_another_model_predicts_the_same_images_and_changes_are_marked(session):
    first, _, second = session.entries
    other = load_predictor(MODEL)
    label = first.prediction.label
    other.classes = [*other.classes[::-1]]
    session.review(second, "patches")
    session.use(other)
    for entry in (first, second):
        session.predict_again(entry)
    assert first.before == label != first.prediction.label
    assert second.corrected == "patches"
    session.predict_again(first)
    assert first.before == ""


def test_a_review_is_taken_back_from_the_model_that_it_was_of(session, file):
    entry = session.entries[0]
    predicted = entry.prediction.label
    session.review(entry, "patches")
    other = load_predictor(MODEL)
    other.name, other.classes = "mill_2/other", [*other.classes[::-1]]
    session.use(other)
    session.predict_again(entry)
    assert session.undo() is entry
    assert corrections.read(file).empty
    assert not corrections.corrections_file(other.name).exists()
    assert f",{predicted}," in file.read_text().splitlines()[-1]


def test_nothing_is_noted_where_it_cannot_be_written(session, outputs):
    (outputs / "corrections").write_text("in the way")
    with pytest.raises(corrections.UserError, match="not kept"):
        session.review(session.entries[0], "patches")
    assert session.entries[0].corrected == ""
    assert session.undo() is None


@pytest.fixture
def streamlit_page(monkeypatch):
    """What runs the Streamlit page of a model on files."""
    testing = pytest.importorskip("streamlit.testing.v1")
    import streamlit as st

    def app(model, files, scale=1.0):
        import streamlit as st

        from nbutils.apps import streamlit_app

        st.file_uploader = lambda *_, **__: files
        streamlit_app.page(model, scale)

    monkeypatch.setattr(st, "file_uploader", st.file_uploader)
    main = sys.modules["__main__"]  # which the page takes the place of, also for new processes
    monkeypatch.setitem(sys.modules, "__main__", main)
    return lambda *args: testing.AppTest.from_function(app, args=args, default_timeout=60).run()


class Upload(io.BytesIO):
    """A file as Streamlit gives it."""

    name = "strip.png"


def shown(page):
    """Return the HTML of a Streamlit page."""
    return " ".join(element.value for element in page.get("html"))


def test_the_streamlit_page_shows_predictions_and_errors(streamlit_page, outputs, gray):
    page = streamlit_page(MODEL, [Upload(encode_png(gray)), Upload(b"text")])
    assert not page.exception
    assert "strip.png" in shown(page)
    assert "strip.png is not a readable image" in shown(page)
    assert shown(page).count('class="row"') == 3
    assert "test images of NEU-DET right" in page.caption[0].value
    page.sidebar.slider[0].set_value(1).run()
    assert shown(page).count('class="row"') == 1


def test_the_streamlit_page_says_that_there_is_no_such_model(streamlit_page, outputs):
    page = streamlit_page("mill_9/none", [])
    assert not page.exception
    assert "no model 'mill_9/none'" in page.error[0].value


def test_the_streamlit_page_takes_the_scale_of_a_camera(streamlit_page, outputs, gray):
    twice = np.kron(gray, np.ones((2, 2), np.uint8))
    page = streamlit_page(MODEL, [Upload(encode_png(twice))], 0.5)
    expected = load_predictor(MODEL, scale=0.5).predict_image(twice)
    assert not page.exception
    assert f"{expected.confidence:.1%}" in shown(page)
    assert "scale 90 is out of range" in streamlit_page(MODEL, [], 90.0).error[0].value
