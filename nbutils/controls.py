"""The demo's widgets: what is on the panel and where; what they do is in `demo`."""

from collections.abc import Sequence

import ipywidgets as widgets

from nbutils import cards
from nbutils.images import SUFFIXES
from nbutils.session import ALL, ORDERS

WIDE = {"layout": widgets.Layout(width="auto", min_width="200px")}
SLIDER = {"layout": widgets.Layout(width="300px")}


class Controls:
    """Widgets to choose images and a model by, and to show what came of it.

    Parameters
    ----------
    models
        Names to choose from; the first is taken.
    top
        Classes charted of each image, at first.
    """

    def __init__(self, models: Sequence[str], top: int):
        self.model = _choice("Model", models)
        self.upload = widgets.FileUpload(
            accept=",".join(SUFFIXES), multiple=True, description="Upload images", **WIDE
        )
        self.folder = widgets.Text(placeholder="a folder here", description="Folder", **WIDE)
        self.read, self.try_out = _button("Read the folder"), _button("Try SYNTHETIC samples")
        self.stop, self.clear = _button("Stop"), _button("Clear")
        self.progress = widgets.IntProgress(layout=widgets.Layout(width="98%"), min=0, max=1)
        self.top = widgets.IntSlider(top, 1, 6, description="Classes", **SLIDER)
        self.overlay = widgets.Checkbox(True, description="Show the evidence", indent=False, **WIDE)
        self.strength = widgets.FloatSlider(0.7, min=0, max=1, description="Strength", **SLIDER)
        self.label = _choice("Class", [ALL])
        self.verdict = _choice("Verdict", [ALL, *cards.SIGNS])
        self.order = _choice("Order", list(ORDERS))
        self.page = widgets.BoundedIntText(1, min=1, max=1, description="Page", **WIDE)
        self.facts, self.status, self.table = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.cards = widgets.VBox()

    def view(self) -> widgets.Widget:
        """Return all of it as a widget to display."""
        return widgets.VBox([
            widgets.HTML(cards.STYLE),
            _row(self.model, self.upload, self.try_out, self.clear),
            self.facts,
            _row(self.folder, self.read, self.stop),
            self.progress,
            self.status,
            _row(self.top, self.overlay, self.strength),
            _row(self.label, self.verdict, self.order, self.page),
            self.cards,
            self.table,
        ])  # fmt: skip


def _choice(words: str, options: Sequence[str]) -> widgets.Dropdown:
    return widgets.Dropdown(options=options, description=words, **WIDE)


def _button(words: str) -> widgets.Button:
    return widgets.Button(description=words, **WIDE)


def _row(*children: widgets.Widget) -> widgets.Box:
    flow = widgets.Layout(flex_flow="row wrap", grid_gap="4px 8px", align_items="center")
    return widgets.Box(children, layout=flow)
