"""The panel without a browser: what its buttons and keys do, and how files come in."""

import errno
import shutil
import tempfile
import time

import numpy as np
import pandas as pd
import pytest

from nbutils import runs
from nbutils.apps import bridge as bridges
from nbutils.apps import gallery, intake, session
from nbutils.apps.html import in_words
from nbutils.apps.panel import Panel
from nbutils.data import corrections, labels
from nbutils.data.synthetic import encode_png
from nbutils.disk import UserError

MODEL = f"{runs.REFERENCE}/mobilenet_v2"  # needs no TensorFlow, and doubts all that is drawn here


@pytest.fixture
def panel(outputs):
    return Panel(MODEL)


def png(seed):
    drawn = np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)
    return encode_png(drawn)


@pytest.fixture
def folder(tmp_path):
    """Twelve images in two folders."""
    for number in range(12):
        file = tmp_path / "images" / str(number % 2) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(number))
    return tmp_path / "images"


def settle(panel):
    """Wait until all is classified, and draw it."""
    panel.worker.jobs.join()
    panel.refresh()


def add(panel, *names):
    panel.add_files([(name, png(seed)) for seed, name in enumerate(names)])
    settle(panel)


def label_of(panel, name):
    [entry] = [entry for entry in panel.session.entries if entry.name == name]
    return entry.corrected


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_samples_are_classified_and_shown(panel):
    assert "steel-empty" in panel.view()._dom_classes
    panel.controls.page.children[2].children[3].click()
    settle(panel)
    assert "steel-empty" not in panel.view()._dom_classes
    assert len(panel.session.entries) == 6
    assert panel.chosen is panel.shown[0]
    assert panel.chosen.name in panel.controls.detail.value
    wait_for(lambda: "6 images classified." in panel.controls.status.value)
    assert panel.bridge.said == "6 images classified."


def test_answers_go_on_to_the_next_in_the_queue_until_it_is_empty(panel):
    add(panel, "a.png", "b.png", "c.png")
    order = [entry.name for entry in panel.shown]
    panel.filters.state = "review"
    panel.refresh()
    assert len(panel.shown) == 3  # an untrained model is sure of nothing
    panel.press("a")
    assert panel.chosen.name == order[1]
    panel.press("2")
    assert panel.chosen.name == order[2]
    assert "1 left to review" in panel.controls.status.value
    panel.press("0")
    assert panel.shown == []
    assert "nothing is left to review" in panel.controls.status.value
    assert "Nothing here" in panel.controls.detail.value
    classes = panel.session.predictor.classes
    given = [label_of(panel, name) for name in order]
    assert given[1:] == [classes[1], labels.NONE]
    file = corrections.corrections_file(panel.session.predictor.name)
    assert sorted(corrections.read(file)["corrected"]) == sorted(given)


def test_the_last_answer_is_taken_back_and_its_image_shown(panel):
    add(panel, "a.png", "b.png")
    first = panel.chosen
    panel.press("n")
    assert first.corrected == labels.NO_DEFECT
    panel.press("z")
    assert panel.chosen is first
    assert first.corrected == ""
    assert panel.controls.undo.disabled
    panel.press("z")


def test_the_thumbnail_and_the_detail_show_what_a_person_said(panel):
    add(panel, "a.png", "b.png")
    first = panel.chosen
    panel.press("a")
    assert panel.gallery.buttons[0].description.startswith("✔")
    panel.choose(first)
    assert "a person says" in panel.controls.detail.value


def test_arrows_step_and_stop_at_the_ends(panel):
    add(panel, "a.png", "b.png")
    for key, place in (("left", 0), ("right", 1), ("right", 1), ("left", 0), ("x", 0)):
        panel.press(key)
        assert panel.chosen is panel.shown[place]


def test_buttons_do_what_keys_do(panel):
    add(panel, "a.png", "b.png")
    first, second = panel.shown
    panel.gallery.buttons[1].click()
    assert panel.chosen is second
    panel.controls.choices.children[2].click()
    assert second.corrected == panel.session.predictor.classes[2]
    assert panel.chosen is first
    panel.controls.confirm.click()
    assert first.corrected == first.prediction.label


def test_counts_filter_cards_and_table_and_say_how_many(panel):
    add(panel, *(f"{number}.png" for number in range(7)))
    panel.add_files([("text.png", b"text")])
    settle(panel)
    counts = panel.filters.states
    assert counts["all"].description == "8 images"
    assert counts["unreadable"].description == "✕ 1 unreadable"
    panel.controls.as_table.value = True
    counts["unreadable"].click()
    assert "1 of 8" in panel.gallery.count.value
    assert "text.png is not a readable image" in panel.controls.detail.value
    assert panel.controls.table.value.count("<tr>") == 2
    counts["accept"].click()
    assert "0 of 8" in panel.gallery.count.value
    assert "Nothing here" in panel.controls.table.value
    counts["accept"].click()
    assert "8 of 8" in panel.gallery.count.value


def test_a_class_is_a_filter(panel):
    add(panel, *(f"{number}.png" for number in range(4)))
    for label, chip in panel.filters.classes.items():
        chip.click()
        assert chip.description == f"{in_words(label)} {len(panel.shown)}"
        assert all(entry.prediction.label == label for entry in panel.shown)
    panel.filters.states["all"].click()
    assert len(panel.shown) == 4


def test_pages_have_a_total_and_a_limit(panel):
    add(panel, *(f"{number:02}.png" for number in range(gallery.PAGE + 2)))
    assert f"{gallery.PAGE + 2} of {gallery.PAGE + 2}, page 1 of 2" in panel.gallery.count.value
    panel.gallery.on.click()
    assert len(panel.gallery.page()) == 2
    assert panel.gallery.on.disabled
    shown = [made for made in panel.gallery.buttons if gallery.is_shown(made)]
    assert len(shown) == 2


def test_clear_asks_before_it_wipes(panel):
    add(panel, "a.png")
    panel.filters.state = "unreadable"
    panel.controls.ask_clear(1)
    assert "Clear 1 image?" in panel.controls.question.value
    assert len(panel.session.entries) == 1
    panel.controls.sure.click()
    assert panel.session.entries == []
    assert not gallery.is_shown(panel.controls.clear)
    add(panel, "b.png")
    assert len(panel.shown) == 1


def test_another_model_predicts_the_same_images_and_a_damaged_one_changes_nothing(
    outputs,
):
    for name in ("good", "other", "damaged"):
        shutil.copytree(runs.find_model(MODEL), outputs / "mill" / name)
    (outputs / "mill" / "damaged" / runs.MODEL_CARD).write_text("{")
    panel = Panel("mill/good")
    assert panel.controls.model.options[0] == "mill/good"
    add(panel, "a.png", "b.png")
    panel.controls.model.value = "mill/damaged"
    assert "damaged" in panel.controls.status.value
    assert panel.controls.model.value == "mill/good"
    before = [entry.prediction for entry in panel.session.entries]
    panel.controls.model.value = "mill/other"
    settle(panel)
    assert panel.session.predictor.name == "mill/other"
    after = [entry.prediction for entry in panel.session.entries]
    assert len(after) == 2
    assert all(one is not other for one, other in zip(before, after, strict=True))


def test_classes_that_changed_are_marked(panel):
    add(panel, "a.png")
    panel.chosen.before = "scratches"
    panel.refresh()
    assert "the model before said scratches" in panel.controls.detail.value


def test_a_batch_can_be_stopped(panel, monkeypatch):
    predict = panel.session.predict
    monkeypatch.setattr(panel.session, "predict", lambda *file: (predict(*file), panel.stop()))
    add(panel, *(f"{number}.png" for number in range(5)))
    assert len(panel.session.entries) == 1


def test_a_folder_is_read_below_the_root_alone(folder, tmp_path):
    said = []
    files = intake.list_folder(".", folder, lambda: False, said.append)
    assert len(files) == 12
    assert not files[0].name.startswith("/")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(png(0))
    root = tmp_path / "root"
    root.mkdir()
    (root / "open.png").write_bytes(png(1))
    (root / "secret.png").symlink_to(outside / "secret.png")
    (root / "linked").symlink_to(outside)
    names = [file.name for file in intake.list_folder(".", root, lambda: False, said.append)]
    assert names == ["open.png"]
    for place in ("..", str(outside), "linked", ""):
        with pytest.raises(UserError, match="no folder below"):
            intake.list_folder(place, root, lambda: False, said.append)
    with pytest.raises(UserError, match="no folder: name one"):
        intake.list_folder("none", root, lambda: False, said.append)
    assert intake.list_folder(".", folder, lambda: True, said.append) == []


def test_a_folder_has_a_limit_that_is_told(outputs, folder, monkeypatch):
    monkeypatch.setattr(intake, "MAX_FILES", 2)
    panel = Panel(MODEL, root=folder)
    panel.controls.path.value = "."
    panel._read_folder()
    wait_for(lambda: "2 images classified" in panel.controls.status.value)
    assert ". holds more than 2 images: these are the first." in panel.controls.status.value


def test_without_a_root_no_folder_is_read(panel, folder):
    panel.controls.path.value = str(folder)
    panel._read_folder()
    settle(panel)
    assert panel.session.entries == []


def test_with_a_root_the_panel_reads_folders(outputs, folder):
    panel = Panel(MODEL, root=folder)
    panel.controls.path.value = "none"
    panel._read_folder()
    panel.worker.jobs.join()
    assert "none is no folder" in panel.controls.status.value
    panel.controls.path.value = "."
    panel._read_folder()
    settle(panel)
    assert len(panel.session.entries) == 12


def test_doubtful_labels_of_a_run_are_a_queue(outputs, folder):
    (outputs / "mill").mkdir()
    (outputs / "mill" / runs.SPLIT).touch()
    rows = pd.DataFrame({"path": sorted(map(str, folder.rglob("*.png")))[:2]})
    rows = rows.assign(label=["scratches", "patches"], suggested="crazing")
    runs.write_csv(rows, outputs / "mill" / runs.SUSPECTS)
    panel = Panel(MODEL, suspects="mill")
    settle(panel)
    assert [entry.stored for entry in panel.session.entries] == ["scratches", "patches"]
    assert panel.session.counts() == {"review": 2}
    assert "the label is doubtful" in panel.controls.detail.value
    stored = panel.chosen.stored
    assert panel.controls.confirm.description == f"✓ Confirm {stored}"
    panel.press("a")
    file = corrections.corrections_file(panel.session.predictor.name)
    assert corrections.read(file)["corrected"].tolist() == [stored]


@pytest.fixture
def bridge():
    taken, pressed = [], []

    def take(name, got):
        taken.append((name, got if isinstance(got, str) else got.read()))

    made = bridges.Bridge(take, pressed.append, lambda: None)
    made.taken, made.pressed = taken, pressed
    return made


def piece(bridge, number, name, size, content):
    facts = {"kind": "piece", "id": number, "name": name, "size": size}
    bridge._receive(bridge, facts, [memoryview(content)])


def test_pieces_are_put_together(bridge):
    piece(bridge, 1, "a.png", 5, b"abc")
    assert bridge.taken == []
    piece(bridge, 1, "a.png", 5, b"de")
    piece(bridge, 2, "empty.png", 0, b"")
    assert bridge.taken == [("a.png", b"abcde"), ("empty.png", b"")]
    assert not bridge.pieces


def test_a_file_is_refused_that_is_larger_than_said_or_than_allowed(bridge, monkeypatch):
    monkeypatch.setattr(bridges, "MAX_BYTES", 8)
    piece(bridge, 1, "liar.png", 2, b"abc")
    piece(bridge, 2, "large.png", 9, b"abc")
    bridge._receive(bridge, {"kind": "too large", "id": 3, "name": "huge.png"}, [])
    refused = ["liar.png", "large.png", "huge.png"]
    assert bridge.taken == [(name, bridges.TOO_LARGE.format(name)) for name in refused]
    assert not bridge.pieces


def test_unfinished_files_do_not_pile_up(bridge):
    for number in range(20):
        piece(bridge, number, f"{number}.png", 5, b"abc")
    assert len(bridge.pieces) <= bridges.MAX_UNFINISHED


def test_a_page_that_was_left_does_not_spoil_what_another_sends(bridge):
    for number in range(bridges.MAX_UNFINISHED):
        piece(bridge, number, "left.png", 5, b"abc")
    piece(bridge, 77, "new.png", 5, b"abc")
    piece(bridge, 77, "new.png", 5, b"de")
    assert bridge.taken == [("new.png", b"abcde")]


def test_a_full_disk_is_said_of_the_file_that_did_not_fit(bridge, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bridges.SpooledTemporaryFile, "write", full)
    piece(bridge, 1, "a.png", 5, b"abcde")
    [(name, sentence)] = bridge.taken
    assert sentence.startswith(f"{name} could not be kept in {tempfile.gettempdir()} (No space")
    assert not bridge.pieces


def test_large_files_wait_on_the_disk(monkeypatch):
    taken = []
    bridge = bridges.Bridge(lambda name, file: taken.append(file), print, print)
    content = bytes(bridges.IN_MEMORY + 1)
    piece(bridge, 1, "a.png", len(content), content)
    assert taken[0].name is not None, "it lies in memory"
    assert taken[0].read() == content


def test_a_file_that_the_browser_cannot_read_is_named(bridge):
    piece(bridge, 1, "gone.png", 5, b"abc")
    bridge._receive(bridge, {"kind": "unreadable", "id": 1, "name": "gone.png"}, [])
    assert bridge.taken == [("gone.png", bridges.UNREADABLE.format("gone.png"))]
    assert not bridge.pieces


def test_a_full_disk_costs_only_the_files_that_did_not_fit(panel, monkeypatch):
    left = iter([True, False, True])

    def spool(gray):
        if not next(left):
            raise OSError(errno.ENOSPC, "No space left on device")
        return gray

    monkeypatch.setattr(session, "_spool", spool)
    add(panel, "a.png", "b.png", "c.png")
    [unkept] = panel.session.select("as added", state="unreadable")
    assert unkept.error.startswith("b.png could not be kept in")
    wait_for(lambda: not panel.worker.drawn)
    assert "2 images classified, 1 file could not be read" in panel.controls.status.value


def test_the_chosen_image_stays_while_others_arrive(panel):
    add(panel, "a.png")
    chosen = panel.chosen
    for number in range(1, 6):
        panel.session.predict(f"{number}.png", png(number))
        panel.refresh()
        assert panel.chosen is chosen


def test_a_key_pressed_on_another_image_than_is_chosen_does_nothing(panel):
    add(panel, "a.png", "b.png")
    first, second = panel.shown
    panel.choose(first)
    before = panel.bridge.chosen
    panel.choose(second)
    panel.press("a", before)
    assert not panel.session.history
    panel.press("a", panel.bridge.chosen)
    assert second.corrected


def test_stop_does_not_leave_answers_of_two_models(panel, outputs):
    add(panel, "a.png", "b.png", "c.png")
    panel.controls.model.value = f"{runs.REFERENCE}/custom_cnn"
    panel.stop()
    settle(panel)
    assert {entry.model for entry in panel.session.images()} == {f"{runs.REFERENCE}/custom_cnn"}


def test_undo_restores_what_was_said_of_the_same_pixels(panel):
    panel.add_files([("a.png", png(0)), ("copy.png", png(0))])
    settle(panel)
    one, copy = panel.session.images()
    panel.session.review(one, "patches")
    assert copy.corrected == "patches"
    panel.session.review(copy, "inclusion")
    panel.session.undo()
    assert one.corrected == copy.corrected == "patches"
    kept = corrections.read(corrections.corrections_file(panel.session.predictor.name))
    assert kept["corrected"].tolist() == ["patches"]


def test_the_table_is_of_the_page_that_is_turned_to(panel):
    panel.add_files([(f"{number}.png", png(number)) for number in range(26)])
    settle(panel)
    panel.controls.as_table.value = True
    before = panel.controls.table.value
    panel.gallery.turn(1)
    assert panel.controls.table.value != before
    panel.refresh()
    assert panel.gallery.first > 0


def test_an_error_of_the_network_costs_one_file(panel, monkeypatch):
    predict = panel.session.predict

    def broken(name, *args):
        if name == "b.png":
            raise RuntimeError("the interpreter failed")
        return predict(name, *args)

    monkeypatch.setattr(panel.session, "predict", broken)
    add(panel, "a.png", "b.png", "c.png")
    [failed] = panel.session.select("as added", state="unreadable")
    assert (failed.name, failed.error) == ("b.png", "the interpreter failed")


def test_an_error_of_drawing_does_not_end_the_work(panel, monkeypatch):
    monkeypatch.setattr(panel, "refresh", lambda: 1 / 0)
    panel.add_files([("a.png", png(0))])
    wait_for(lambda: "division by zero" in panel.controls.status.value)
    monkeypatch.undo()
    add(panel, "b.png")
    assert panel.session.entries[-1].name == "b.png"


def test_a_file_that_did_not_arrive_is_shown(panel):
    panel.bridge._receive(panel.bridge, {"kind": "too large", "id": 3, "name": "huge.png"}, [])
    assert "huge.png did not arrive whole" in panel.controls.detail.value
    assert "at most 64 MB" in panel.controls.detail.value


def test_the_export_is_made_of_what_is_there_now(panel):
    add(panel, "a.png", "b.png")
    panel.press("a")
    panel.controls.page.children[2].children[7].click()
    assert gallery.is_shown(panel.controls.exports)
    assert panel.controls.exports.value.count("href=") == 2
    panel.press("2")
    assert not gallery.is_shown(panel.controls.exports)


def test_files_that_wait_are_classified_by_the_model_of_then(panel, outputs):
    panel.add_files([(f"{seed}.png", png(seed)) for seed in range(40)])
    panel.controls.model.value = f"{runs.REFERENCE}/custom_cnn"
    settle(panel)
    assert len(panel.session.entries) == 40
    predictor = panel.session.predictor
    for entry in panel.session.entries:
        expected = predictor.predict_image(entry.gray)
        assert entry.prediction.probabilities == pytest.approx(expected.probabilities, abs=1e-5)


@pytest.mark.parametrize("name", ["~nobody_of_this_name/x", "x" * 300, "zero\0byte"])
def test_odd_names_of_folders_are_refused_and_the_panel_goes_on(outputs, tmp_path, name):
    panel = Panel(MODEL, root=str(tmp_path))
    panel.controls.path.value = name
    panel._read_folder()
    settle(panel)
    assert "folder" in panel.controls.status.value
    add(panel, "after.png")
    assert [entry.name for entry in panel.session.entries] == ["after.png"]
