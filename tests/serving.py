"""The demo served by Voila, and a browser to look at it."""

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import papermill

from nbutils import paths


def chromium() -> str | None:
    """Return where the browser is, if there is one."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def browser() -> Iterator:
    """Start chromium; give playwright's browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        window = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield window
        window.close()


@contextmanager
def demo(model: str, *options: str) -> Iterator[tuple[str, int]]:
    """Serve the demo as `make demo` does; give its address and the server's process number."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder) / "demo.ipynb"
        papermill.execute_notebook(
            str(paths.NOTEBOOKS / "05_upload_demo.ipynb"), str(notebook), prepare_only=True,
            parameters={"RUN": model, "STILL": False}, progress_bar=False,
        )  # fmt: skip
        port = _free_port()
        command = [sys.executable, "-m", "voila", str(notebook), "--no-browser", f"--port={port}"]
        server = subprocess.Popen(
            [*command, "--Voila.ip=127.0.0.1", *options],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield _answering(f"http://127.0.0.1:{port}/"), server.pid
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _answering(address: str) -> str:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}static/", timeout=5)
        except urllib.error.HTTPError:
            return address
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)
