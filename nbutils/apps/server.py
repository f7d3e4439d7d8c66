"""The panel as a page that Voila serves on this machine."""

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from voila.app import Voila

from nbutils import disk, runs
from nbutils.apps import intake
from nbutils.artefacts import read_card
from nbutils.disk import UserError
from nbutils.inference import windows

TITLE = "Steel surface defects"
CELL = """\
from nbutils.apps.panel import Panel

Panel({model!r}, root={root!r}, suspects={suspects!r}, scale={scale!r}).view()
"""
POLICY = (  # of the page: nothing from elsewhere is loaded, and nothing is sent there
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss: data: blob:; "
    "frame-ancestors 'self'"
)
SETTINGS = {
    "headers": {"Content-Security-Policy": POLICY},
    "websocket_max_message_size": 2**29,  # bytes, of files that come without the bridge
    "allow_remote_access": False,  # a foreign Host header is refused: no rebinding of DNS
    "disable_check_xsrf": True,  # else the page could not end its kernel; origins are checked
}
OPTIONS = [
    "--VoilaConfiguration.multi_kernel_manager_class=nbutils.apps.server.VisitorKernels",
    "--Voila.ip=127.0.0.1",
    "--preheat_kernel=True",
    "--MappingKernelManager.cull_idle_timeout=600",  # of browsers that went without a word
    "--MappingKernelManager.cull_interval=60",
]


class VisitorKernels(AsyncMappingKernelManager):
    """Kernels of visitors, ended when they are idle.

    A kernel that waited for its visitor has been idle for long when the page opens, and is not
    connected yet: it would be ended under the visitor's eyes. So idleness counts from the moment
    at which the kernel was given away; until then Voila keeps it, and asks for no more.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.given: dict[str, float] = {}  # kernel -> seconds, of the first look at it

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """End a kernel that has been idle since it was given to a visitor, for long enough."""
        now = time.monotonic()
        if now - self.given.setdefault(kernel_id, now) > self.cull_idle_timeout:
            await super().cull_kernel_if_idle(kernel_id)


def serve(
    model: str,
    root: str,
    suspects: str,
    scale: float,
    hosts: Sequence[str],
    options: Sequence[str],
) -> None:
    """Serve the panel until it is interrupted.

    Parameters
    ----------
    model
        To begin with, as `runs.find_model` takes it.
    root
        Visitors may read images below this folder; empty for none.
    suspects
        A run whose doubtful labels are looked at; empty for none.
    scale
        That images are enlarged by to be as those of training.
    hosts
        Names beside localhost that the page is asked for by, as behind a proxy.
    options
        Further ones for Voila.
    """
    found = runs.find_model(model)
    windows.check_scale(scale, read_card(found))
    folder = disk.expand_user(root).resolve()
    if root and not folder.is_dir():
        raise UserError(f"--root {root} is no folder: name one that holds images")
    if suspects:
        intake.list_suspects(suspects)
    os.environ["STEEL_HOME"] = str(runs.HOME)  # the kernels work in the folder of the notebook
    facts = {"model": runs.model_name(found), "root": str(folder) if root else None}
    cell = CELL.format(**facts, suspects=suspects, scale=scale)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    settings: dict[str, object] = SETTINGS | {"local_hostnames": ["localhost", *hosts]}
    with tempfile.TemporaryDirectory() as place:  # another server has another
        file = Path(place, f"{TITLE}.ipynb")
        nbformat.write(notebook, file)
        Voila.launch_instance([str(file), *_own(settings, options), *options])


def _own(settings: dict[str, object], options: Sequence[str]) -> list[str]:
    """Return the options that are not given otherwise."""
    given = {option.partition("=")[0] for option in options}
    own = [*OPTIONS, f"--Voila.tornado_settings={settings}"]
    return [option for option in own if option.partition("=")[0] not in given]
