"""The demo without a browser: session, corrections, cards, panel, and the Streamlit page."""

import base64
import io
import re
import sys
import time
from threading import Event

import numpy as np
import pandas as pd
import pytest

from nbutils import cards, corrections, demo, evidence, images, paths, splits
from nbutils.paths import UserError
from nbutils.predict import load_predictor
from nbutils.samples import png
from nbutils.session import ALL, Session


@pytest.fixture
def session(trained, outputs, gray):
    """Two images and a broken file, judged."""
    found = Session(load_predictor(trained))
    for name, data in (("a.png", png(gray)), ("b.jpg", b"text"), ("c.png", png(255 - gray))):
        found.judge(name, data)
    return found


def test_a_broken_file_keeps_its_place_and_hides_no_other(session):
    table = session.table()
    assert table["file"].tolist() == ["a.png", "b.jpg", "c.png"]
    assert table["error"].tolist()[::2] == ["", ""]
    assert "b.jpg is not a readable image" in table["error"][1]
    assert session.select("by name", ALL, ALL)[0].name == "b.jpg"
    other = next(label for label in session.predictor.classes if label not in set(table["label"]))
    assert [entry.name for entry in session.select("as they came", other, ALL)] == ["b.jpg"]


def test_orders_and_filters(session):
    least_sure = session.select("least sure first", ALL, ALL)[1:]
    assert least_sure[0].prediction.confidence <= least_sure[1].prediction.confidence
    for verdict in ("accept", "review"):
        for entry in session.select("by class", ALL, verdict)[1:]:
            assert entry.prediction.verdict == verdict


def test_corrections_outlive_the_session_and_replace_each_other(session, outputs):
    entry = session.entries[0]
    session.correct(entry, "patches")
    session.correct(entry, "scratches")
    [row] = corrections.read(outputs / "tiny" / "corrections.csv").to_dict("records")
    assert row["corrected"] == "scratches"
    assert row["model"] == "tiny"
    assert row["sha256"] == images.pixel_hash(entry.gray)
    kept = images.decode(paths.Path(row["path"]).read_bytes())
    assert np.array_equal(kept, entry.gray)
    assert session.table()["corrected"].tolist() == ["scratches", "", ""]


def test_training_takes_corrections_in_but_for_the_test_part(session, split, outputs):
    session.correct(session.entries[0], "scratches")
    file = outputs / "tiny" / "corrections.csv"
    table = corrections.read(file)
    tested, learned = (split[split["part"] == part].iloc[0] for part in ("test", "train"))
    wrong = [
        {**table.iloc[0], "sha256": row["sha256"], "path": row["path"], "corrected": "patches"}
        for row in (tested, learned)
    ]
    paths.write_csv(pd.concat([table, pd.DataFrame(wrong)]), file)
    more = corrections.add_to(split, file)
    assert len(more) == len(split) + 1
    assert more.iloc[-1][["label", "part"]].tolist() == ["scratches", "train"]
    labels = more.set_index("path")["label"]
    assert labels[learned["path"]] == "patches"
    assert labels[tested["path"]] == tested["label"]
    assert set(more["part"]) == set(splits.PARTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.assign(corrected="dent"), "dent: no class of this split"),
        (lambda table: table.assign(path="/nowhere.png"), "/nowhere.png is gone"),
        (lambda table: table.drop(columns="corrected"), "lacks corrected"),
    ],
)
def test_corrections_that_cannot_be_taken_in(session, split, outputs, change, words):
    session.correct(session.entries[0], "scratches")
    file = outputs / "tiny" / "corrections.csv"
    paths.write_csv(change(corrections.read(file)), file)
    with pytest.raises(UserError, match=words):
        corrections.add_to(split, file)
    with pytest.raises(UserError, match="correct a label in 05_upload_demo"):
        corrections.add_to(split, outputs / "none.csv")


def test_the_last_correction_counts(session, outputs):
    entry = session.entries[0]
    for label in ("scratches", "patches"):
        session.correct(entry, label)
    assert corrections.read(outputs / "tiny" / "corrections.csv")["corrected"].tolist() == [
        "patches"
    ]
    (outputs / "empty.csv").write_text("")
    with pytest.raises(UserError, match="name a file that the demo wrote"):
        corrections.read(outputs / "empty.csv")


def test_a_still_shows_files_that_cannot_be_read(session):
    shown = cards.still(Session(session.predictor), [("text.jpg", b"none")], 3)
    assert "text.jpg is not a readable image" in shown


def test_cards_escape_names_and_mark_verdicts_by_words(session):
    entry = session.entries[0]
    entry.name = "<b>.png"
    heat = np.eye(32, dtype=np.float32)
    shown = cards.card(entry, session.prepared(entry), 2, heat, 0.7)
    assert "&lt;b&gt;.png" in shown
    assert cards.SIGNS[entry.prediction.verdict] in shown
    assert shown.count('class="row"') == 2
    assert "64 x 48 gray, resized to 32 x 32" in shown
    assert "not a readable image" in cards.card(session.entries[1], "", 2, None, 0)


def test_the_overlay_colours_the_evidence_alone(gray):
    heat = np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    shown = cards.overlay(gray, heat, 1.0)
    assert shown.shape == (*gray.shape, 3)
    assert (shown[-1, -1] == gray[-1, -1]).all()
    assert len(set(shown[0, 0].tolist())) > 1


def test_the_table_downloads_as_csv(session):
    page = cards.table(session.table())
    data = re.search(r"base64,([\w+/=]+)", page)[1]
    table = pd.read_csv(io.BytesIO(base64.b64decode(data)))
    assert table["file"].tolist() == ["a.png", "b.jpg", "c.png"]
    assert "No image" in cards.table(session.table().iloc[:0])


@pytest.fixture
def panel(trained, outputs):
    return demo.Panel(str(trained), top=3, seed=0)


def test_the_panel_judges_samples_and_shows_a_card_for_each(panel):
    panel.view()
    panel.try_out.click()
    panel.worker.join()
    wait_for(lambda: len(panel.maps) == 6)
    assert len(panel.cards.children) == 6
    assert "6 of 6 files judged" in panel.status.value
    assert "SYNTHETIC scratches.png" in panel.table.value
    panel.top.value = 1
    assert panel.cards.children[0].children[0].value.count('class="row"') == 1
    correction = panel.cards.children[0].children[1]
    correction.value = "patches"
    assert "noted as patches" in panel.status.value
    assert "patches" in corrections.read(corrections.file_of("tiny"))["corrected"].tolist()
    panel.clear.click()
    assert panel.cards.children == ()


def test_maps_come_after_a_session_is_cleared_while_one_is_drawn(panel, monkeypatch):
    begun, go_on = Event(), Event()

    def heats(self, grays, labels):
        begun.set()
        go_on.wait(10)
        return np.zeros((len(grays), 4, 4), np.float32)

    monkeypatch.setattr(evidence.Evidence, "heats", heats)
    panel.try_out.click()
    assert begun.wait(10)
    panel.clear.click()
    panel.try_out.click()
    panel.worker.join()
    go_on.set()
    wait_for(lambda: len(panel.maps) == 6)


def test_why_there_are_no_maps_is_said(panel, monkeypatch):
    def heats(self, grays, labels):
        raise UserError("no convolution")

    monkeypatch.setattr(evidence.Evidence, "heats", heats)
    panel.try_out.click()
    wait_for(lambda: "no convolution" in panel.status.value)


def wait_for(condition):
    """Wait until it holds; fail after a minute."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_panel_reads_folders_and_says_what_is_wrong_with_them(panel, stand_in, tmp_path):
    panel.folder.value = str(stand_in)
    panel.read.click()
    panel.worker.join()
    assert len(panel.cards.children) == demo.PAGE
    assert panel.page.max == 6
    panel.folder.value = str(tmp_path / "none")
    panel.read.click()
    assert "is no folder" in panel.status.value


def test_a_batch_can_be_stopped(panel, gray):
    def read():
        panel.stop.click()
        return png(gray)

    panel.judge([(f"{at}.png", read) for at in range(5)])
    panel.worker.join()
    assert "1 of 5 files judged" in panel.status.value
    assert panel.stop.disabled


def test_the_streamlit_page_shows_answers_and_errors(trained, outputs, gray, monkeypatch):
    testing = pytest.importorskip("streamlit.testing.v1")

    def app(model, files):
        import streamlit as st

        from nbutils import streamlit_app

        st.file_uploader = lambda *_, **__: files
        streamlit_app.page(model)

    class File(io.BytesIO):
        name = "strip.png"

    import streamlit as st

    monkeypatch.setattr(st, "file_uploader", st.file_uploader)
    main = sys.modules["__main__"]  # which the page takes the place of, also for new processes
    monkeypatch.setitem(sys.modules, "__main__", main)
    files = [File(png(gray)), File(b"text")]
    ran = testing.AppTest.from_function(app, args=(str(trained), files), default_timeout=60).run()
    assert not ran.exception
    words = " ".join(each.value for each in ran.markdown)
    assert "strip.png" in words
    assert "not a readable image" in words
    assert words.count('class="row"') == 3
    ran.sidebar.slider[0].set_value(1).run()
    assert " ".join(each.value for each in ran.markdown).count('class="row"') == 1
