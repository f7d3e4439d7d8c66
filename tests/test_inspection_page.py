"""The page of a batch inspection."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pages import EVIL, Page, is_escaped

from nbutils import runs
from nbutils.apps import inspection, inspection_page
from nbutils.data.synthetic import encode_png
from nbutils.inference import batch
from nbutils.inference.defects import Defect
from nbutils.inference.prediction import Prediction, error_row
from nbutils.inference.predictor import load_predictor
from nbutils.uncertainty import drift
from nbutils.uncertainty.review import load_policy


@pytest.fixture
def inspect(trained, gray, tmp_path):
    """What writes the files of an inspection: rows (path, confidence, novelty, reasons)."""
    policy, usual = load_policy(trained), drift.load_reference(trained).means[0]
    classes = load_predictor(trained).classes

    def write(rows, errors=(), model=trained, **facts):
        folder = tmp_path / "inspection"
        folder.mkdir()
        table = []
        for path, confidence, novelty, reasons in rows:
            content = encode_png(gray)
            (tmp_path / path).write_bytes(content)
            rest = (1 - confidence) / (len(classes) - 1)
            probabilities = dict.fromkeys(classes, rest) | {classes[0]: confidence}
            novelty *= policy.thresholds.novelty
            prediction = Prediction(probabilities, novelty, (classes[0],), reasons)
            described = dict(zip(drift.PER_IMAGE, usual, strict=False))
            described["sha256"] = hashlib.sha256(content).hexdigest()
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


def write(folder, max_review_rows=9):
    summary = inspection.summarize(folder, max_review_rows)
    return inspection_page.write(folder, summary).read_text(encoding="utf-8")


def heading(text):
    return re.search(r"<h1>(.*?)</h1>", text)[1]


def test_the_review_queue_begins_with_what_is_most_doubtful(inspect, monkeypatch):
    monkeypatch.setattr(inspection, "CHUNK_ROWS", 2)
    folder = inspect(ROWS, ["cut.png", "gone.png"])
    summary = inspection.summarize(folder, 3)
    paths = [path.rpartition("/")[2] for path in (row["path"] for row in summary.queue)]
    assert paths == ["newer.png", "new.png", "more_doubtful.png"]
    assert (summary.n_unlike, summary.n_images, summary.n_review) == (2, 5, 4)
    assert list(summary.counts.values()) == [{"accept": 1, "review": 4}]
    assert (summary.n_errors, summary.errors) == (2, ["cut.png is damaged", "gone.png is damaged"])
    assert summary.drift.images == 5


def test_the_queue_is_ordered_by_risk_before_all(inspect):
    folder = inspect(ROWS)
    table = runs.read_csv(folder / runs.INSPECTIONS)
    table["risk"] = [0.0, 0.9, 0.2, 0.3, 0.4]
    runs.write_csv(table, folder / runs.INSPECTIONS)
    queue = inspection.summarize(folder, 9).queue
    assert [row["risk"] for row in queue] == [0.9, 0.4, 0.3, 0.2]


def test_a_page_holds_all_that_it_shows(inspect):
    folder = inspect(ROWS, ["cut.png"], images=6, seconds=2.0, notice="SYNTHETIC images")
    text = write(folder, 2)
    page = Page(text)
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.attributes["src"])
    assert len(page.attributes["src"]) == 2
    assert not {"script", "link"} & set(page.tags)
    assert "prefers-color-scheme: dark" in text
    assert re.search(r"Date\d{4}-\d\d-\d\d \d\d:\d\d", page.text.replace("\n", ""))
    for part in ("shift_1, shift_2", "custom_cnn (litert)", "3 a second", "Review queue (4)",
                 "2 more are in inspections.csv", "SYNTHETIC images", "cut.png is damaged",
                 "too few to test for drift", "100.0%"):  # fmt: skip
        assert part in page.text
    assert page.text.index("newer.png") < page.text.index("new.png")
    assert [link for link in page.attributes["href"] if link.startswith("file://")] == [
        Path(row["path"]).as_uri() for row in inspection.summarize(folder, 2).queue
    ]


def test_strangers_come_before_all_other_findings(inspect):
    rows = [(f"{number}.png", 0.9, 3.0 if number % 5 < 2 else 0.5, ()) for number in range(60)]
    text = write(inspect(rows))
    assert heading(text) == "24 of 60 images are unlike anything in training."
    assert "No drift" not in text


def test_no_drift_is_not_said_above_a_queue_of_strangers(inspect):
    summary = inspection.summarize(inspect([(f"{n}.png", 0.9, 3.0, ()) for n in range(20)]), 9)
    ones = np.ones(len(drift.DESCRIPTORS))
    summary.drift = drift.DriftTest(0 * ones, ones, images=20, limit=4.0)
    assert not [text for text in summary.findings() if text.startswith("No drift")]
    summary.n_unlike = 0
    assert summary.findings()[-1].startswith("No drift")


def test_a_stretch_is_said_once(inspect, trained):
    reference = drift.load_reference(trained)
    folder = inspect([(f"{number}.png", 0.9, 0.5, ()) for number in range(120)], ["cut.png"])
    table = runs.read_csv(folder / runs.INSPECTIONS)
    shift = 20 * reference.deviations[0][2] * max(1, reference.between[2]) ** 0.5
    table["sharpness"] = pd.to_numeric(table["sharpness"])
    table.loc[60:119, "sharpness"] -= shift
    runs.write_csv(pd.concat([table.tail(1), table.head(120)]), folder / runs.INSPECTIONS)
    summary = inspection.summarize(folder, 9)
    [stretch] = summary.stretches
    assert stretch.startswith("Out of focus from image 62 on: 60 images with a class, 0 to review")
    assert summary.findings()[0] == stretch


def test_an_inspection_of_nothing_readable_has_a_page(inspect):
    text = Page(write(inspect([], ["cut.png", "gone.png"]), 1)).text
    assert "2 of 2 files could not be read." in text
    assert "Review queue (0)" in text
    assert "1 more are in" in text


def test_images_that_are_gone_or_have_changed_are_said_to_be(inspect, tmp_path, gray):
    folder = inspect(ROWS)
    (tmp_path / "new.png").unlink()
    (tmp_path / "newer.png").write_bytes(encode_png(gray.T))
    text = Page(write(folder)).text
    assert text.count("no longer readable") == 1
    assert text.count("has changed since it was inspected") == 1
    assert "doubtful.png" in text


class Locating:
    """A predictor that finds one defect in the left half of an image."""

    def predict_image(self, gray):
        height, width = gray.shape
        found = Defect("inclusion", 0.9, 0, 0, width / 2, height)
        return Prediction({"inclusion": 1.0}, defect_map=np.ones((3, 4, 1), "f"), defects=(found,))


def test_maps_and_boxes_lie_over_the_image(inspect, monkeypatch):
    folder = inspect(ROWS[1:2])
    assert 'class="box"' not in write(folder)  # of a model without a map: the image alone
    monkeypatch.setattr(inspection_page, "_predictor", lambda facts: Locating())
    text = write(folder)
    assert re.search(r'class="map" src="data:image/png;base64,', text)
    assert (
        'title="inclusion 90%" style="left: 0.0%; top: 0.0%; width: 50.0%; height: 100.0%"' in text
    )


def test_two_hundred_noisy_images_stay_below_five_megabytes():
    noise = np.random.default_rng(0).integers(256, size=(1024, 4096), dtype=np.uint8)
    for gray in (noise[:200, :200], noise):
        card = inspection_page._picture(gray, Locating().predict_image(gray))
        assert 200 * len(repr(card)) < 5e6


def test_the_page_escapes_all_that_it_shows(inspect, trained, tmp_path, outputs):
    model = outputs / EVIL / EVIL
    shutil.copytree(trained, model)
    rows = [(f"{EVIL}.png", 0.4, 2.0, (EVIL,))]
    facts = {"sources": [EVIL], "backend": EVIL, "notice": EVIL}
    folder = inspect(rows, [EVIL], model, **facts)
    table = runs.read_csv(folder / runs.INSPECTIONS).assign(predicted=EVIL, prediction_set=EVIL)
    table = table.rename(columns={"p_crazing": f"p_{EVIL}"})
    runs.write_csv(table, folder / runs.INSPECTIONS)
    text = write(folder)
    assert is_escaped(text)
    # title and source, run and model, backend, notice, class, name, reason, bar, error
    assert Page(text).text.count(EVIL) == 11


def test_a_name_in_no_encoding_has_a_page(inspect, tmp_path):
    folder = inspect(ROWS[1:2])
    file = folder / runs.INSPECTIONS
    file.write_bytes(file.read_bytes().replace(b"doubtful.png", b"doubt\xff.png"))
    assert "no longer readable" in write(folder)


@pytest.mark.parametrize("name", [b"bytes\xff.png", b"line\nbreak.png"])
def test_a_name_that_the_table_cannot_hold_leads_to_its_image(name, gray, tmp_path):
    place = tmp_path / os.fsdecode(b"shift\xfe")
    place.mkdir()
    file = place / os.fsdecode(name)
    file.write_bytes(encode_png(gray))
    folder = tmp_path / "inspection"
    batch.inspect([str(place)], folder, f"{runs.REFERENCE}/mobilenet_v2", processes=1)
    text = write(folder)
    assert "Review queue (1)" in Page(text).text
    assert "no longer readable" not in text
    assert f'href="{file.as_uri()}"' in text


def test_an_inspection_loads_neither_keras_nor_tables_nor_figures(inspect):
    folder = inspect(ROWS)
    code = (
        "import sys; from pathlib import Path\n"
        "from nbutils.apps import inspection, inspection_page\n"
        "from nbutils.inference import batch\n"
        f"place = Path({str(folder)!r})\n"
        "inspection_page.write(place, inspection.summarize(place, 9))\n"
        "print({'keras', 'tensorflow', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
