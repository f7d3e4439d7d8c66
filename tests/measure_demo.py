"""Photograph the demo on SYNTHETIC images, and time it.

python tests/measure_demo.py [MODEL]

Writes `panel.png`, `panel_dark.png`, `panel_narrow.png` and `demo.json` to
`outputs/reference/demo`.
"""

import statistics
import sys
import time

import numpy as np
import processes
import serving

from nbutils import paths, samples, synthetic
from nbutils.predict import DEFAULT_MODEL

SESSIONS, PREDICTIONS = 10, 10
TRY_OUT = "Try SYNTHETIC samples"


def opened(window, address: str, **options):
    """Return a page that shows the panel."""
    page = window.new_page(**({"viewport": {"width": 1280, "height": 1000}} | options))
    page.set_default_timeout(180_000)
    page.goto(address)
    page.get_by_role("button", name=TRY_OUT).wait_for()
    return page


def tried(page) -> None:
    """Judge the samples, and wait for their maps."""
    page.get_by_role("button", name=TRY_OUT).click()
    page.locator("img[alt*='evidence']").nth(5).wait_for()


def first_page(window, model: str) -> float:
    """Return the seconds from the server's start to the panel."""
    start = time.perf_counter()
    with serving.demo(model, "--preheat_kernel=True") as (address, _):
        opened(window, address).close()
        return time.perf_counter() - start


def prediction(page) -> float:
    """Return the seconds from the choice of a file to its card on the screen, the median."""
    seconds = []
    for at in range(PREDICTIONS):
        gray, _ = synthetic.draw("scratches", np.random.default_rng(at))
        name = f"SYNTHETIC {at}.png"
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Upload images").click()
        file = {"name": name, "mimeType": "image/png", "buffer": samples.png(gray)}
        start = time.perf_counter()
        chooser.value.set_files([file])
        page.locator("h4", has_text=name).wait_for()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def memory(pid: int) -> float:
    """Return the memory (MB) of a process and all that it started."""
    return sum(processes.memory(one) for one in processes.family(pid))


def main(model: str) -> None:
    """Do all of it."""
    folder = paths.OUTPUTS / "reference" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    with serving.browser() as window:
        facts = {"model": model, "images": "SYNTHETIC", "first_page_s": first_page(window, model)}
        with serving.demo(model) as (address, pid):
            page = opened(window, address)
            facts["prediction_s"] = prediction(page)
            page.get_by_role("button", name="Clear").click()
            page.get_by_text("No image yet").wait_for()
            tried(page)
            page.screenshot(path=folder / "panel.png")
            page.set_viewport_size({"width": 400, "height": 900})
            page.screenshot(path=folder / "panel_narrow.png")
            page.close()
        with serving.demo(model, "--theme=dark") as (address, _):
            page = opened(window, address)
            tried(page)
            page.screenshot(path=folder / "panel_dark.png")
        with serving.demo(model) as (address, pid):
            before = memory(pid)
            pages = [opened(window, address) for _ in range(SESSIONS)]
            without_maps = memory(pid)
            for page in pages:
                page.get_by_role("button", name=TRY_OUT).click()
            for page in pages:
                page.locator("img[alt*='evidence']").nth(5).wait_for()
            facts |= {
                "sessions": SESSIONS,
                "session_mb": (without_maps - before) / SESSIONS,
                "session_with_maps_mb": (memory(pid) - before) / SESSIONS,
            }
    paths.write_json({key: _rounded(value) for key, value in facts.items()}, folder / "demo.json")
    print((folder / "demo.json").read_text())


def _rounded(value):
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main(*sys.argv[1:] or [DEFAULT_MODEL])
