"""The demo without a browser: session, corrections, panel, and the Streamlit page."""

import io
import shutil
import sys
import time
from pathlib import Path
from threading import Event

import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.apps import panel as panels
from nbutils.apps.session import ALL, Session, explain
from nbutils.data import corrections, images
from nbutils.data.synthetic import encode_png
from nbutils.inference.explain import Explainer
from nbutils.inference.predictor import load_predictor, row_columns
from nbutils.runs import UserError


@pytest.fixture
def session(trained, outputs, gray):
    """Two images and a broken file between them, classified."""
    begun = Session(load_predictor(trained))
    begun.predict("a.png", encode_png(gray))
    begun.predict("b.jpg", b"text")
    begun.predict("c.png", encode_png(255 - gray))
    return begun


@pytest.fixture
def file(session):
    """Where the corrections of the session's model are kept."""
    return corrections.corrections_file(session.predictor.name)


def test_a_broken_file_keeps_its_place_and_hides_no_other(session):
    table = session.table()
    assert table["path"].tolist() == ["a.png", "b.jpg", "c.png"]
    assert table["error"].tolist()[::2] == ["", ""]
    assert "b.jpg is not a readable image" in table["error"][1]
    assert session.select("by file name", ALL, ALL)[0].name == "b.jpg"
    other = next(name for name in session.predictor.classes if name not in set(table["predicted"]))
    assert [entry.name for entry in session.select("as uploaded", other, ALL)] == ["b.jpg"]


def test_a_row_has_the_columns_of_every_table_and_those_of_a_session(session):
    table = session.table()
    classes = session.predictor.classes
    assert table.columns.tolist() == ["number", *row_columns(classes), "corrected"]
    assert table["number"].tolist() == [1, 2, 3]
    assert set(table["label"]) == {""}
    assert table["predicted"][0] == session.entries[0].prediction.label
    probabilities = table[[f"p_{name}" for name in classes]].iloc[[0, 2]].astype(float)
    assert probabilities.sum(axis=1).tolist() == pytest.approx([1, 1])


def test_orders_and_filters(session):
    first, second = session.select("lowest confidence first", ALL, ALL)[1:]
    assert first.prediction.confidence <= second.prediction.confidence
    first, second = session.select("highest novelty first", ALL, ALL)[1:]
    assert first.prediction.novelty >= second.prediction.novelty
    for decision in ("accept", "review"):
        for entry in session.select("by class", ALL, decision)[1:]:
            assert entry.prediction.decision == decision


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
    assert float(table["novelty"][0]) == pytest.approx(session.entries[0].prediction.novelty)


def test_corrections_outlive_the_session_and_replace_each_other(session, file):
    entry = session.entries[0]
    session.correct(entry, "patches")
    session.correct(entry, "scratches")
    [row] = corrections.read(file).to_dict("records")
    assert row["corrected"] == "scratches"
    assert row["predicted"] == entry.prediction.label
    assert row["model"] == session.predictor.name
    assert row["sha256"] == images.pixel_hash(entry.gray)
    assert np.array_equal(images.decode(Path(row["path"]).read_bytes()), entry.gray)
    assert session.table()["corrected"].tolist() == ["scratches", "", ""]


def test_maps_are_those_of_the_predicted_class(session):
    entry = session.entries[0]
    explain([entry], session.explainer)
    [expected] = Explainer(session.predictor.name).heatmaps([entry.gray], [entry.prediction.label])
    assert np.allclose(entry.heatmap, expected)
    explain([], session.explainer)


@pytest.fixture
def panel(trained, outputs):
    return panels.Panel(str(trained), top=3, seed=0)


def are_explained(panel):
    """Tell whether the six samples have their maps."""
    entries = panel.session.entries
    return len(entries) == 6 and all(entry.heatmap is not None for entry in entries)


def wait_for(condition):
    """Wait until it holds; fail after a minute."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_panel_predicts_samples_and_shows_a_card_for_each(panel):
    panel.view()
    panel.samples.click()
    panel.worker.join()
    wait_for(lambda: are_explained(panel))
    assert len(panel.cards.children) == 6
    assert "6 of 6 files classified" in panel.status.value
    assert "SYNTHETIC scratches.png" in panel.table.value
    wait_for(lambda: "activation map" in panel.cards.children[5].children[0].value)
    panel.top.value = 1
    assert panel.cards.children[0].children[0].value.count('class="row"') == 1
    panel.overlay.value = False
    assert "activation map" not in panel.cards.children[0].children[0].value
    panel.clear.click()
    assert panel.cards.children == ()
    assert "No image yet" in panel.table.value


def test_a_label_is_corrected_on_the_panel(panel):
    panel.samples.click()
    panel.worker.join()
    correction = panel.cards.children[0].children[1]
    correction.value = "patches"
    assert "corrected to patches" in panel.status.value
    [row] = corrections.read(corrections.corrections_file(panel.model.value)).to_dict("records")
    assert row["corrected"] == "patches"
    assert panel.session.entries[0].corrected == "patches"


def test_maps_come_after_a_session_is_cleared_while_they_are_computed(panel, monkeypatch):
    begun, go_on = Event(), Event()

    def heatmaps(self, grays, labels):
        begun.set()
        go_on.wait(10)
        return np.zeros((len(grays), 4, 4), np.float32)

    monkeypatch.setattr(Explainer, "heatmaps", heatmaps)
    panel.samples.click()
    assert begun.wait(10)
    panel.clear.click()
    panel.samples.click()
    panel.worker.join()
    go_on.set()
    wait_for(lambda: are_explained(panel))


def test_why_there_are_no_maps_is_said(panel, monkeypatch):
    def heatmaps(self, grays, labels):
        raise UserError("no convolution")

    monkeypatch.setattr(Explainer, "heatmaps", heatmaps)
    panel.samples.click()
    wait_for(lambda: "no convolution" in panel.status.value)


def test_the_panel_reads_folders_and_says_what_is_wrong_with_them(panel, stand_in, tmp_path):
    panel.folder.value = str(stand_in)
    panel.read.click()
    panel.worker.join()
    assert len(panel.cards.children) == panels.PAGE_CARDS
    assert panel.page.max == 6
    first = panel.cards.children
    panel.page.value = 6
    assert not set(panel.cards.children) & set(first)
    panel.folder.value = str(tmp_path / "none")
    panel.read.click()
    assert f"{tmp_path / 'none'} is no file, no folder" in panel.status.value


def test_a_batch_can_be_stopped(panel, gray, monkeypatch):
    monkeypatch.setattr(panel.session, "predict", lambda *_: panel.stop.click())
    panel.predict([(f"{number}.png", encode_png(gray)) for number in range(5)])
    panel.worker.join()
    assert "1 of 5 files classified" in panel.status.value
    assert panel.stop.disabled


def test_a_model_that_cannot_be_loaded_leaves_the_session_as_it_is(trained, outputs, gray):
    for name in ("good", "damaged"):
        shutil.copytree(trained, outputs / "mill" / name)
    (outputs / "mill" / "damaged" / runs.MODEL_CARD).write_text("{")
    panel = panels.Panel("mill/good", top=3, seed=0)
    assert panel.model.options[:2] == ("mill/good", "mill/damaged")
    panel.predict([("a.png", encode_png(gray))])
    panel.worker.join()
    panel.model.value = "mill/damaged"
    assert "is not JSON" in panel.status.value
    assert panel.model.value == "mill/good"
    assert len(panel.session.entries) == 1
    panel.model.value = f"{runs.REFERENCE}/mobilenet_v2"
    assert panel.session.predictor.name == "reference/mobilenet_v2"
    assert "test images of NEU-DET right" in panel.facts.value
    assert panel.session.entries == []


@pytest.fixture
def streamlit_page(monkeypatch):
    """What runs the Streamlit page of a model on files."""
    testing = pytest.importorskip("streamlit.testing.v1")
    import streamlit as st

    def app(model, files):
        import streamlit as st

        from nbutils.apps import streamlit_app

        st.file_uploader = lambda *_, **__: files
        streamlit_app.page(model)

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


def test_the_streamlit_page_shows_predictions_and_errors(streamlit_page, trained, outputs, gray):
    page = streamlit_page(str(trained), [Upload(encode_png(gray)), Upload(b"text")])
    assert not page.exception
    assert "strip.png, with its activation map" in shown(page)
    assert "strip.png is not a readable image" in shown(page)
    assert shown(page).count('class="row"') == 3
    page.sidebar.slider[0].set_value(1).run()
    assert shown(page).count('class="row"') == 1
    page.sidebar.checkbox[0].uncheck().run()
    assert "strip.png, image" in shown(page)


def test_the_streamlit_page_says_that_there_is_no_such_model(streamlit_page, outputs):
    page = streamlit_page("mill_9/none", [])
    assert not page.exception
    assert "no model 'mill_9/none'" in page.error[0].value
