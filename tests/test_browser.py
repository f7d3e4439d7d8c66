"""The demo in a real browser, served by Voila."""

import shutil

import numpy as np
import pandas as pd
import pytest
import serving

from nbutils import corrections, demo, paths, samples

pytestmark = pytest.mark.browser
PATIENCE = 90_000  # milliseconds
MODEL = "model_of_the_browser_test"


@pytest.fixture(scope="module")
def browser():
    if not serving.chromium():
        pytest.skip("no chromium: apt-get install chromium")
    pytest.importorskip("playwright.sync_api")
    with serving.browser() as window:
        yield window


@pytest.fixture(scope="module")
def served(trained):
    """The address of the demo, with a model and corrections of its own."""
    run = paths.OUTPUTS / MODEL
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(trained, run)
    with serving.demo(MODEL) as (address, _):
        yield address
    shutil.rmtree(run)


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
    page.get_by_text(f"{len(files)} of {len(files)} files judged").wait_for()


def png(seed):
    return samples.png(np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8))


def clear(page):
    page.get_by_role("button", name="Clear").click()
    page.get_by_text("No image yet").wait_for()


def test_it_opens_on_the_panel_with_no_code(page):
    assert "demo.Panel" not in page.content()
    assert page.get_by_text("not judged on test images").count() == 1


def test_a_sample_of_each_class_gets_a_card(page):
    page.get_by_role("button", name="Try SYNTHETIC samples").click()
    page.get_by_text("6 of 6 files judged").wait_for()
    page.locator("h4").nth(5).wait_for()
    names = page.locator("h4").all_inner_texts()
    assert names == [name for name, _ in samples.drawn(0)]
    page.locator("img[alt*='evidence']").nth(5).wait_for()
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
    upload(page, [(f"strip_{at}.png", png(at)) for at in range(20)])
    page.get_by_role("link", name="Download as CSV").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    download.value.save_as(tmp_path / "session.csv")
    table = pd.read_csv(tmp_path / "session.csv")
    assert table["file"].tolist() == [f"strip_{at}.png" for at in range(20)]
    assert table.filter(like="p_").sum(axis=1).tolist() == pytest.approx([1] * 20)
    assert page.locator("h4").count() == demo.PAGE
    clear(page)


def test_a_corrected_label_outlives_the_kernel(page, served):
    upload(page, [("wrong.png", png(7))])
    page.locator("h4").first.wait_for()
    page.get_by_label("Correct to").select_option("scratches")
    page.get_by_text("noted as scratches").wait_for()
    page.goto(served)  # another kernel
    page.get_by_role("button", name="Try SYNTHETIC samples").wait_for()
    assert corrections.read(corrections.file_of(MODEL))["corrected"].tolist() == ["scratches"]


def test_it_fits_a_narrow_window(page):
    page.set_viewport_size({"width": 400, "height": 900})
    upload(page, [("narrow.png", png(3))])
    page.locator("h4").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
