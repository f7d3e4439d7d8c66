"""The demo served by Voila, and a browser to look at it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from nbutils import runs

STEEL = (sys.executable, "-c", "from nbutils.cli import main; main()")  # as `steel` does


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
def demo(model: str, *options: str, home: Path = runs.HOME) -> Iterator[tuple[str, int]]:
    """Serve the demo as `steel demo` does; give its address and the server's process number.

    `home` has `outputs/`, where models are looked for and corrections are kept.
    """
    port = _free_port()
    server = subprocess.Popen(
        [*STEEL, "demo", "--model", model, "--no-browser", f"--port={port}", *options],
        env=os.environ | {"STEEL_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=partial(
            signal.signal, signal.SIGINT, signal.SIG_DFL
        ),  # background jobs ignore it
    )
    try:
        yield _started(f"http://127.0.0.1:{port}/", server), server.pid
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _started(address: str, server: subprocess.Popen) -> str:
    """Return an address once something is served there."""
    for _ in range(1200):
        if server.poll() is not None:
            raise RuntimeError(f"{server.args} ended")
        try:
            urllib.request.urlopen(f"{address}static/", timeout=5)
        except urllib.error.HTTPError:
            return address
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(address)
