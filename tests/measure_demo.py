"""Photograph the demo on SYNTHETIC images, and time it.

python tests/measure_demo.py [MODEL]

Writes `panel.png`, `panel_dark.png`, `panel_narrow.png`, `panel_empty.png` and `demo.json` to
`outputs/reference/demo`.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import processes
import serving

from nbutils import runs
from nbutils.data import synthetic
from nbutils.inference.predictor import DEFAULT_MODEL

SESSIONS, PREDICTIONS, PAGES = 10, 10, 5
FOLDER = 500  # images
PAUSE = 5  # seconds between two looks at the memory
SAMPLES = "Samples"


def opened(window, address: str, **options):
    """Return a page that shows the panel."""
    page = window.new_page(**({"viewport": {"width": 1360, "height": 1000}} | options))
    page.set_default_timeout(300_000)
    page.goto(address)
    page.get_by_role("button", name=SAMPLES).wait_for()
    page.locator(".steel-add").wait_for()
    return page


def add_samples(page) -> None:
    """Classify the samples, and those of another seed that are drawn here."""
    page.get_by_role("button", name=SAMPLES).click()
    page.get_by_role("button", name="6 images").wait_for()
    page.get_by_text("6 images classified").first.wait_for()


def first_page(window, model: str) -> float:
    """Return the seconds from the server's start to the panel."""
    start = time.perf_counter()
    with serving.demo(model) as (address, _):
        opened(window, address).close()
        return time.perf_counter() - start


def prediction(page) -> float:
    """Return the seconds from the choice of a file to its thumbnail on the screen, the median."""
    seconds = []
    for number in range(PREDICTIONS):
        gray, _ = synthetic.draw("scratches", np.random.default_rng(number))
        file = {
            "name": f"{number} SYNTHETIC.png",
            "mimeType": "image/png",
            "buffer": synthetic.encode_png(gray),
        }
        with page.expect_file_chooser() as chooser:
            page.locator(".steel-add").click()
        start = time.perf_counter()
        chooser.value.set_files([file])
        page.get_by_role("button", name=f"{number} SYNTHETIC.png").wait_for()
        seconds.append(time.perf_counter() - start)
        time.sleep(1)  # as a person would: drawings in a row are held back
    return statistics.median(seconds)


def photograph(window, model: str, folder: Path) -> float:
    """Save screenshots of the panel; return the seconds that a prediction takes."""
    with tempfile.TemporaryDirectory() as home, serving.demo(model, home=Path(home)) as served:
        page = opened(window, served[0])
        page.screenshot(path=folder / "panel_empty.png")
        seconds = prediction(page)
        page.get_by_role("button", name="Clear…").click()
        page.get_by_role("button", name="Clear", exact=True).click()
        page.locator(".steel-empty").wait_for()
        add_samples(page)
        page.keyboard.press("a")
        page.get_by_text("left to review").first.wait_for()
        page.mouse.move(0, 0)
        page.screenshot(path=folder / "panel.png")
        page.get_by_role("button", name="☾").click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(500)
        page.screenshot(path=folder / "panel_dark.png")
        page.get_by_role("button", name="☾").click()
        page.set_viewport_size({"width": 400, "height": 900})
        page.wait_for_timeout(500)
        page.screenshot(path=folder / "panel_narrow.png")
        page.close()
    return seconds


def pages(window, model: str) -> dict[str, float]:
    """Return the seconds that a folder takes, and a page of its gallery, the median."""
    with tempfile.TemporaryDirectory() as home:
        place = synthetic.write_dataset(Path(home) / "SYNTHETIC", per_class=-(-FOLDER // 6))
        with serving.demo(model, f"--root={place}", home=Path(home)) as (address, _):
            page = opened(window, address)
            page.get_by_role("button", name="Folder…").click()
            page.get_by_placeholder("a folder of this machine").fill(".")
            start = time.perf_counter()
            page.get_by_role("button", name="Read the folder").click()
            page.get_by_text("images classified").first.wait_for()
            whole = time.perf_counter() - start
            return {"folder_images": FOLDER, "folder_s": whole, "page_s": _turns(page)}


def _turns(page) -> float:
    seconds = []
    for number in range(2, PAGES + 2):
        start = time.perf_counter()
        page.get_by_role("button", name="→").click()
        page.get_by_text(f"page {number} of").wait_for()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def memory(pid: int) -> float:
    """Return the memory (MB) of a process and all that it started, once it changes no more."""
    before, now = 0.0, _memory(pid)
    while abs(now - before) > 0.01 * now:
        time.sleep(PAUSE)
        before, now = now, _memory(pid)
    return now


def _memory(pid: int) -> float:
    return sum(processes.memory(one) for one in processes.family(pid))


def sessions(window, model: str) -> dict[str, float]:
    """Return the memory (MB) of a session with six images, and how much is left of it."""
    with serving.demo(model) as (address, pid):
        opened(window, address).close()  # the server keeps one kernel ahead
        before = memory(pid)
        seen = [opened(window, address) for _ in range(SESSIONS)]
        for page in seen:
            add_samples(page)
        during = memory(pid)
        for page in seen:
            page.goto("about:blank")
        return {
            "session_mb": (during - before) / SESSIONS,
            "closed_session_mb": (memory(pid) - before) / SESSIONS,
        }


def main(model: str) -> None:
    """Do all of it."""
    folder = runs.OUTPUTS / runs.REFERENCE / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    with serving.browser() as window:
        facts = {
            "model": model,
            "images": "SYNTHETIC",
            "first_page_s": first_page(window, model),
            "prediction_s": photograph(window, model, folder),
            **pages(window, model),
            "sessions": SESSIONS,
            **sessions(window, model),
        }
    runs.write_json({key: _rounded(value) for key, value in facts.items()}, folder / "demo.json")
    print((folder / "demo.json").read_text())


def _rounded(value):
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main(*sys.argv[1:] or [DEFAULT_MODEL])
