"""The demo in a real browser, served by Voila."""

import base64
import http.client
import time
from urllib.parse import urlsplit

import folders
import numpy as np
import pandas as pd
import processes
import pytest
import serving

from nbutils import runs
from nbutils.data import corrections, synthetic

pytestmark = pytest.mark.browser
PATIENCE = 180_000  # milliseconds
EVIL = "<img src=x onerror=window.evil=1>"
MODEL = f"{EVIL}/mobilenet_v2"


@pytest.fixture(scope="module")
def browser():
    if not serving.chromium():
        pytest.skip("no chromium: apt-get install chromium")
    pytest.importorskip("playwright.sync_api")
    with serving.browser() as window:
        yield window


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A place for runs, with a model of an evil name and an evil class."""
    folder = tmp_path_factory.mktemp("home")
    model = folder / "outputs" / MODEL
    folders.copy_model(runs.find_model(f"{runs.REFERENCE}/mobilenet_v2"), model)
    card = runs.read_json(model / runs.MODEL_CARD)
    card["classes"] = [f"{name} {EVIL}" for name in card["classes"]]
    runs.write_json(card, model / runs.MODEL_CARD)
    return folder


@pytest.fixture(scope="module")
def served(home):
    """The address of the demo and its process, with a model and corrections of its own."""
    with serving.demo(MODEL, home=home) as place:
        yield place


def open_page(browser, address, **options):
    opened = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
    opened.set_default_timeout(PATIENCE)
    opened.goto(address)
    opened.get_by_role("button", name="Samples").wait_for()
    return opened


@pytest.fixture(scope="module")
def shared(browser, served):
    opened = open_page(browser, served[0])
    opened.locator(".steel-add").wait_for()
    return opened


@pytest.fixture
def page(shared):
    """A page without images."""
    yield shared
    assert shared.evaluate("window.evil") is None
    shared.set_viewport_size({"width": 1280, "height": 900})
    shared.get_by_role("button", name="Clear…").click()
    shared.get_by_role("button", name="Clear", exact=True).click()
    shared.locator(".steel-empty").wait_for()


def png(seed, height=40, width=40):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width), dtype=np.uint8)
    return synthetic.encode_png(pixels)


def add(page, *files):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add images").first.click()
    chooser.value.set_files(
        [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    )


def drop(page, files):
    """Drop files on the panel, as a hand would."""
    contents = [[name, base64.b64encode(data).decode()] for name, data in files]
    page.evaluate(
        """(contents) => {
        const transfer = new DataTransfer();
        for (const [name, content] of contents) {
            const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
        }
        const panel = document.querySelector(".steel");
        for (const type of ["dragover", "drop"])
            panel.dispatchEvent(new DragEvent(type, {dataTransfer: transfer, bubbles: true}));
        }""",
        contents,
    )


def count(page, text):
    page.get_by_role("button", name=text).first.wait_for()


def test_it_opens_on_a_place_to_drop_images_and_nothing_else(browser, served):
    page = open_page(browser, served[0])
    page.locator(".steel-add").wait_for()
    assert page.get_by_role("button", name="Folder…").count() == 0
    shown = page.locator("button:visible").all_inner_texts()
    assert [text for text in shown if text] == ["☾", "Add images", "Samples"]
    assert "Reads" not in page.locator("body").inner_text()
    assert "at most 64 MB" in page.locator("body").inner_text()
    assert page.locator("a").count() == 0
    page.close()


def test_broken_files_stand_beside_good_ones_and_names_are_text(page):
    name = f"{EVIL}.png"
    add(page, (name, png(0)), ("cut.png", png(0)[:200]), ("text.jpg", b"no image"))
    count(page, "3 images")
    count(page, "2 unreadable")
    page.get_by_role("heading", name=name).wait_for()
    page.get_by_role("button", name="2 unreadable").click()
    page.get_by_text("2 of 3").first.wait_for()
    page.locator(".detail .error").wait_for()


def test_thirty_files_dropped_at_once_are_paged_and_exported(page, browser, tmp_path):
    drop(page, [(f"strip_{number:02}.png", png(number)) for number in range(30)])
    count(page, "30 images")
    page.get_by_text("30 of 30, page 1 of 2").wait_for()
    page.get_by_role("button", name="Export").click()
    for name, end in (("Table (CSV)", "csv"), ("Page (HTML)", "html")):
        with page.expect_download() as download:
            page.get_by_role("link", name=name).click()
        download.value.save_as(tmp_path / f"session.{end}")
    table = pd.read_csv(tmp_path / "session.csv")
    assert sorted(table["path"]) == [f"strip_{number:02}.png" for number in range(30)]
    assert table.filter(like="p_").sum(axis=1).tolist() == pytest.approx([1] * 30, abs=1e-3)
    mailed = browser.new_page()
    mailed.goto(f"file://{tmp_path}/session.html")
    assert "30 images" in mailed.locator(".counts").first.inner_text()
    images = mailed.locator("img")
    assert images.count() == 2 * 30  # each with its map
    assert images.evaluate_all("images => images.every(image => image.naturalWidth > 0)")
    assert mailed.evaluate("window.evil") is None
    mailed.close()


def test_keys_answer_go_on_and_take_back(page):
    add(page, ("a.png", png(1)), ("b.png", png(2)))
    count(page, "2 to review")
    first = page.locator(".detail h3").inner_text()
    page.keyboard.press("2")
    count(page, "1 to review")
    page.locator(".detail h3", has_text="b.png" if first == "a.png" else "a.png").wait_for()
    assert "1 left to review" in page.locator("[role=status]").inner_text()
    page.keyboard.press("a")
    count(page, "0 to review")
    page.keyboard.press("z")
    count(page, "1 to review")
    page.keyboard.press("z")
    count(page, "2 to review")
    page.locator(".detail h3", has_text=first).wait_for()


def test_a_correction_is_seen_where_it_is_made_and_outlives_the_kernel(
    page, browser, served, home, monkeypatch
):
    add(page, ("wrong.png", png(7)))
    page.get_by_role("button", name="6 scratches").click()
    page.get_by_text("a person says scratches").wait_for()
    page.get_by_role("button", name="✎ wrong.png").wait_for()
    monkeypatch.setattr(runs, "OUTPUTS", home / "outputs")
    labels = corrections.read(corrections.corrections_file(MODEL))["corrected"]
    assert f"scratches {EVIL}" in set(labels)
    another = open_page(browser, served[0])
    another.locator(".steel-add").wait_for()
    add(another, ("again.png", png(7)))
    another.get_by_text("a person says scratches").wait_for()
    another.close()


def test_a_file_of_15_mb_and_a_long_strip_arrive_and_are_zoomed(page):
    large = png(1, 3900, 4096)
    assert len(large) > 15 * 10**6
    add(page, ("large.png", large), ("strip.png", png(2, 1024, 4096)))
    count(page, "2 images")
    page.get_by_role("button", name="strip.png").click()
    page.get_by_role("heading", name="strip.png").wait_for()
    page.keyboard.press("+")
    page.locator(".pictures.zoom img").first.wait_for()
    page.wait_for_function("document.querySelector('.zoom img').naturalWidth === 4096")
    page.keyboard.press("+")


def test_it_is_dark_at_a_click_and_fits_a_narrow_window(page):
    add(page, ("narrow.png", png(3)))
    count(page, "1 image")
    page.get_by_role("button", name="☾").click()
    page.wait_for_function(
        "getComputedStyle(document.querySelector('.steel')).backgroundColor === 'rgb(22, 24, 27)'"
    )
    page.set_viewport_size({"width": 400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.get_by_role("button", name="☾").click()


def test_without_the_bridge_mouse_and_tab_do_all(browser, served):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.route("**/anywidget/**", lambda route: route.abort())
    page.goto(served[0])
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add images").click()
    files = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": png(90 + n)} for n in (1, 2)]
    chooser.value.set_files(files)
    count(page, "2 to review")
    page.get_by_role("button", name="0 none of these").focus()
    page.keyboard.press("Enter")
    count(page, "1 to review")
    page.get_by_role("button", name="Undo").click()
    count(page, "2 to review")
    page.close()


def ask(address, host, path="/", **headers):
    """Ask a server by some name; return the status of its answer."""
    place = urlsplit(address)
    asked = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
    asked.request("GET", path, headers={"Host": host, **headers})
    status = asked.getresponse().status
    asked.close()
    return status


def test_a_foreign_host_and_a_foreign_page_are_refused(shared, served):
    place = urlsplit(served[0]).netloc
    facts = "document.querySelector('#jupyter-config-data').text"
    kernel = shared.evaluate(f"JSON.parse({facts}).kernelId")
    channels = f"/api/kernels/{kernel}/channels"
    socket = {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }  # fmt: skip
    assert ask(served[0], "evil.example") == 403
    assert ask(served[0], "evil.example", channels, **socket) == 403
    assert ask(served[0], place, channels, **socket, Origin="http://evil.example") == 403
    assert ask(served[0], place, channels, **socket, Origin=f"http://{place}") == 101


def kernels(pid):
    """Count the processes of a server's kernels."""
    return len(processes.family(pid)) - 1


def test_closed_pages_leave_no_kernel(browser, served):
    address, pid = served
    before = kernels(pid)
    pages = [open_page(browser, address) for _ in range(3)]
    assert kernels(pid) > before
    for page in pages:
        page.goto("about:blank")
        page.close()
    until = time.monotonic() + 120
    while kernels(pid) > before:
        assert time.monotonic() < until
        time.sleep(0.5)


def test_kernels_of_visitors_that_went_without_a_word_are_ended(browser, home):
    options = (
        "--MappingKernelManager.cull_idle_timeout=20",
        "--MappingKernelManager.cull_interval=1",
    )
    with serving.demo(MODEL, *options, home=home) as (address, pid):
        place = urlsplit(address).netloc
        for _ in range(2):
            assert ask(address, place) == 200
        until = time.monotonic() + 180
        while kernels(pid) > 1:  # the one that waits for the next visitor
            assert time.monotonic() < until
            time.sleep(0.5)
        open_page(browser, address).close()


def test_folders_are_read_below_the_root_that_was_named(browser, home, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
    with serving.demo(MODEL, f"--root={tmp_path}", home=home) as (address, _):
        page = open_page(browser, address)
        page.get_by_role("button", name="Folder…").click()
        field = page.get_by_placeholder("a folder of this machine")
        field.fill("..")
        page.get_by_role("button", name="Read the folder").click()
        page.get_by_text("is no folder below").first.wait_for()
        field.fill(".")
        page.get_by_role("button", name="Read the folder").click()
        count(page, "3 images")
        page.close()
