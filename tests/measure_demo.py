"""Photograph the demo on SYNTHETIC images, and time it.

python tests/measure_demo.py [MODEL]

Writes `panel.png`, `panel_dark.png`, `panel_narrow.png` and `demo.json` to
`outputs/reference/demo`.
"""

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import processes
import serving

from nbutils import runs
from nbutils.data import synthetic
from nbutils.inference.predictor import DEFAULT_MODEL

SESSIONS, PREDICTIONS = 10, 10
PAUSE = 5  # seconds between two looks at the memory
TRY_OUT = "Try SYNTHETIC samples"
MAPS = "img[alt*='activation map']"


def opened(window, address: str, **options):
    """Return a page that shows the panel."""
    page = window.new_page(**({"viewport": {"width": 1280, "height": 1000}} | options))
    page.set_default_timeout(180_000)
    page.goto(address)
    page.get_by_role("button", name=TRY_OUT).wait_for()
    return page


def classify(page) -> None:
    """Classify the samples, and wait for their maps."""
    page.get_by_role("button", name=TRY_OUT).click()
    page.locator(MAPS).nth(5).wait_for()


def first_page(window, model: str) -> float:
    """Return the seconds from the server's start to the panel."""
    start = time.perf_counter()
    with serving.demo(model) as (address, _):
        opened(window, address).close()
        return time.perf_counter() - start


def prediction(page) -> float:
    """Return the seconds from the choice of a file to its card on the screen, the median."""
    seconds = []
    for number in range(PREDICTIONS):
        gray, _ = synthetic.draw("scratches", np.random.default_rng(number))
        name = f"SYNTHETIC {number}.png"
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Upload images").click()
        file = {"name": name, "mimeType": "image/png", "buffer": synthetic.encode_png(gray)}
        start = time.perf_counter()
        chooser.value.set_files([file])
        page.locator("h4", has_text=name).wait_for()
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


def photograph(window, model: str, folder: Path) -> float:
    """Save screenshots of the panel; return the seconds that a prediction takes."""
    with serving.demo(model) as (address, _):
        page = opened(window, address)
        seconds = prediction(page)
        page.get_by_role("button", name="Clear").click()
        page.get_by_text("No image yet").wait_for()
        classify(page)
        page.screenshot(path=folder / "panel.png")
        page.set_viewport_size({"width": 400, "height": 900})
        page.screenshot(path=folder / "panel_narrow.png")
        page.close()
    with serving.demo(model, "--theme=dark") as (address, _):
        page = opened(window, address)
        classify(page)
        page.screenshot(path=folder / "panel_dark.png")
        page.close()
    return seconds


def sessions(window, model: str) -> dict[str, float]:
    """Return the memory (MB) that an open page takes, at first and with activation maps."""
    with serving.demo(model) as (address, pid):
        opened(window, address)  # the server keeps one kernel ahead, also after the last page
        before = memory(pid)
        pages = [opened(window, address) for _ in range(SESSIONS)]
        without_maps = memory(pid)
        for page in pages:
            page.get_by_role("button", name=TRY_OUT).click()
        for page in pages:
            page.locator(MAPS).nth(5).wait_for()
        return {
            "session_mb": (without_maps - before) / SESSIONS,
            "session_with_maps_mb": (memory(pid) - before) / SESSIONS,
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
            "sessions": SESSIONS,
            **sessions(window, model),
        }
    runs.write_json({key: _rounded(value) for key, value in facts.items()}, folder / "demo.json")
    print((folder / "demo.json").read_text())


def _rounded(value):
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main(*sys.argv[1:] or [DEFAULT_MODEL])
