"""The demo in a real browser, served by Voila."""

import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
import serving

from nbutils import runs
from nbutils.apps import panel
from nbutils.data import corrections, synthetic

pytestmark = pytest.mark.browser
PATIENCE = 90_000  # milliseconds
MODEL = "mill_1/custom_cnn"
EVIL = "<img src=x onerror=window.evil=1>.png"


@pytest.fixture(scope="module")
def browser():
    if not serving.chromium():
        pytest.skip("no chromium: apt-get install chromium")
    pytest.importorskip("playwright.sync_api")
    with serving.browser() as window:
        yield window


@pytest.fixture(scope="module")
def home(trained, tmp_path_factory):
    """A place for runs, with a model in one of them."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(trained, folder / "outputs" / MODEL)
    return folder


@pytest.fixture(scope="module")
def served(home):
    """The address of the demo, with a model and corrections of its own."""
    with serving.demo(MODEL, home=home) as (address, _):
        yield address


@pytest.fixture(scope="module")
def page(browser, served):
    opened = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    opened.set_default_timeout(PATIENCE)
    opened.goto(served)
    opened.get_by_role("button", name="Try SYNTHETIC samples").wait_for()
    return opened


def upload(page, files):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Upload images").click()
    chooser.value.set_files(
        [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    )
    page.get_by_text(f"{len(files)} of {len(files)} files classified").wait_for()


def png(seed):
    return synthetic.encode_png(
        np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)
    )


def clear(page):
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("No image yet").wait_for()


def test_it_opens_on_the_panel_with_no_code(page):
    assert "Panel(" not in page.content()
    assert page.get_by_text("not evaluated on test images").count() == 1


def test_a_sample_of_each_class_gets_a_card(page):
    page.get_by_role("button", name="Try SYNTHETIC samples").click()
    page.get_by_text("6 of 6 files classified").wait_for()
    page.locator("h4").nth(5).wait_for()
    names = page.locator("h4").all_inner_texts()
    assert names == [name for name, _ in synthetic.example_files(0)]
    page.locator("img[alt*='activation map']").nth(5).wait_for()
    clear(page)


def test_broken_files_stand_beside_good_ones(page):
    cut = png(0)[:200]
    upload(page, [("good.png", png(0)), ("cut.png", cut), ("text.jpg", b"no image")])
    page.get_by_text("text.jpg is not a readable image").wait_for()
    page.get_by_text("cut.png is").first.wait_for()
    assert page.locator("h4").all_inner_texts() == ["good.png"]
    assert page.get_by_text("2 could not be read").count() == 1
    clear(page)


def test_twenty_at_once_are_paged_and_downloaded(page, tmp_path):
    upload(page, [(f"strip_{number}.png", png(number)) for number in range(20)])
    page.get_by_role("link", name="Download as CSV").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    download.value.save_as(tmp_path / "session.csv")
    table = pd.read_csv(tmp_path / "session.csv")
    assert table["path"].tolist() == [f"strip_{number}.png" for number in range(20)]
    assert table.filter(like="p_").sum(axis=1).tolist() == pytest.approx([1] * 20)
    assert page.locator("h4").count() == panel.PAGE_CARDS
    clear(page)


def test_a_name_is_text_and_nothing_else(page):
    upload(page, [(EVIL, png(5)), (EVIL, b"no image")])
    page.get_by_text("is not a readable image").wait_for()
    assert page.locator("h4").all_inner_texts() == [EVIL]
    assert page.evaluate("window.evil") is None
    clear(page)


def test_a_corrected_label_outlives_the_kernel(page, served, home, monkeypatch):
    upload(page, [("wrong.png", png(7))])
    page.locator("h4").first.wait_for()
    page.get_by_label("Correct to").select_option("scratches")
    page.get_by_text("corrected to scratches").wait_for()
    page.goto(served)  # another kernel
    page.get_by_role("button", name="Try SYNTHETIC samples").wait_for()
    monkeypatch.setattr(runs, "OUTPUTS", home / "outputs")
    [label] = corrections.read(corrections.corrections_file(MODEL))["corrected"]
    assert label == "scratches"


def test_it_fits_a_narrow_window(page):
    page.set_viewport_size({"width": 400, "height": 900})
    upload(page, [("narrow.png", png(3))])
    page.locator("h4").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_an_inspection_page_that_is_mailed_holds_together(browser, home, stand_in, tmp_path):
    command = [*serving.STEEL, "inspect", str(stand_in), "--model", MODEL, "--workers", "1"]
    environment = os.environ | {"STEEL_HOME": str(home)}
    subprocess.run(
        [*command, "--max-review-rows", "3"], env=environment, capture_output=True, check=True
    )
    mailed = shutil.copy(home / "outputs" / "inspection_SYNTHETIC" / "inspection.html", tmp_path)
    page = browser.new_page(viewport={"width": 400, "height": 900})
    page.goto(f"file://{mailed}")
    assert page.locator("h1").inner_text().startswith("Inspection of")
    images = page.locator("img")
    assert images.count() == 4  # drift, and three cards
    assert images.evaluate_all("images => images.every(image => image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()
