"""The panel's controls: what there is to press, and how it is laid out."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import ipywidgets as widgets

from nbutils.apps import report
from nbutils.apps.gallery import box, button, is_shown, mark, show, text
from nbutils.apps.html import in_words, render
from nbutils.apps.intake import LIMITS
from nbutils.apps.session import ORDERS, Entry, Unreadable
from nbutils.data import labels
from nbutils.data.files import SUFFIXES

SELECTION = f"{LIMITS}; 512 MB in all"  # what one message holds
Actions = Mapping[str, Callable[[], None]]


class Controls:
    """All widgets of the panel but its thumbnails and filters."""

    def __init__(self, models: Sequence[str]):
        self.model = widgets.Dropdown(options=models)
        self.order = widgets.Dropdown(options=list(ORDERS))
        accept = ",".join(SUFFIXES)
        self.upload = widgets.FileUpload(
            description="Add images", accept=accept, multiple=True, tooltip=SELECTION
        )
        self.path = widgets.Text(placeholder="a folder of this machine")
        self.facts, self.status, self.detail = text(), text(), text()
        self.exports, self.table, self.question = text(), text(), text()
        self.progress = widgets.IntProgress(max=0)
        self.with_map = _toggle("Map", True, "Where the defects are (key M)")
        self.zoomed = _toggle("Zoom", False, "All pixels of the image (key +)")
        self.as_table = _toggle("Table", False, "The page of thumbnails as a table, too")
        self.looks = (self.order, self.with_map, self.zoomed, self.as_table)
        self.choices = box("choices")
        self.is_dark = False

    def lay_out(
        self,
        actions: Actions,
        bridge: widgets.DOMWidget,
        filters: widgets.Widget,
        gallery: widgets.Box,
        reads_folders: bool,
    ) -> None:
        """Put all into `page`."""
        self.stop = button("Stop", actions["stop"])
        self.undo = button("Undo", actions["undo"], "late", "Take the last answer back (key Z)")
        self.confirm = button("", actions["confirm"], "primary")
        self.sure = button("Clear", actions["wipe"])
        self.clear = box("ask", self.question, self.sure, button("Keep", self.close))
        self.folder = box("folder", self.path, button("Read the folder", actions["read"]))
        header = text(render("title.html")), self.model, self.facts
        theme = button("☾", self._turn_theme, "theme", "Dark or light")
        below = box("look", self.confirm, box("gap"), self.with_map, self.zoomed, self.as_table)
        gallery.children = (self.order, *gallery.children)
        self.page = box(
            "page",
            text(render("panel.html")),
            box("header", *header, theme),
            self._tools(actions, bridge, reads_folders),
            self.folder,
            self.clear,
            self.exports,
            self.progress,
            self.status,
            filters,
            box("main", gallery, box("detail", self.detail, below, self.choices)),
            self.table,
        )  # fmt: skip
        self.page.add_class("steel")
        self.status.add_class("steel-said")
        for hidden in (self.stop, self.folder, self.clear, self.exports, self.progress):
            show(hidden, False)

    def _tools(
        self, actions: Actions, bridge: widgets.DOMWidget, reads_folders: bool
    ) -> widgets.Box:
        """Return the row of what brings images in, and of what is done with all of them."""
        folder = button("Folder…", actions["folder"], "link")
        show(folder, reads_folders)
        return box(
            "tools",
            self.upload,
            bridge,
            folder,
            button("Samples", actions["samples"], "link", "SYNTHETIC images, one a class"),
            box("gap"),
            self.stop,
            self.undo,
            button("Export", actions["export"], "late"),
            button("Clear…", actions["clear"], "late"),
        )

    def use(self, model: str, classes: Sequence[str], answer: Callable[[str], None]) -> None:
        """Take a model: its facts, and a button for each answer."""
        short, words = report.model_facts(model)
        self.facts.value = render("facts.html", short=short, words=words)
        answers = [(f"{number} {label}", label) for number, label in enumerate(classes, start=1)]
        answers.append(("0 none of these", labels.NONE))
        if labels.NO_DEFECT not in classes:
            answers.append(("N no defect", labels.NO_DEFECT))
        self.choices.children = [button(words, partial(answer, label)) for words, label in answers]

    def draw(self, is_begun: bool, chosen: Entry | Unreadable | None, can_undo: bool) -> None:
        """Show what fits the session and the chosen file."""
        mark(self.page, "empty", not is_begun)
        mark(self.page, "zoomed", self.zoomed.value)
        self.undo.disabled = not can_undo
        image = chosen if isinstance(chosen, Entry) else None
        for part in (self.confirm, self.choices, self.zoomed):
            show(part, image is not None)
        show(self.with_map, image is not None and image.has_evidence)
        if image:
            self.confirm.description = f"✓ Confirm {in_words(image.proposed)}"
            self.confirm.tooltip = "It is what is proposed (key A)"

    def work(self, on: bool) -> None:
        """Show that files are being classified, or no longer."""
        show(self.stop, on)
        show(self.progress, on)
        if not on:
            self.progress.max = self.progress.value = 0

    def ask_folder(self) -> None:
        """Show or hide the field for a folder."""
        show(self.folder, not is_shown(self.folder))

    def ask_clear(self, count: int) -> None:
        """Ask before a session is wiped."""
        files = "image" if count == 1 else "images"
        asked = f"Clear {count} {files}? What was confirmed or corrected is kept in its file."
        self.question.value = report.message(asked)
        show(self.clear, True)

    def close(self) -> None:
        """Hide what was asked and offered."""
        for hidden in (self.clear, self.folder, self.exports):
            show(hidden, False)

    def offer(self, links: str) -> None:
        """Show links to download."""
        self.exports.value = links
        show(self.exports, True)

    def withdraw(self) -> None:
        """Take away the links, which hold what was there when they were made."""
        show(self.exports, False)

    def toggle_zoom(self) -> None:
        """Zoom, or no longer."""
        self.zoomed.value = not self.zoomed.value

    def toggle_map(self) -> None:
        """Show where the defects are, or no longer."""
        self.with_map.value = not self.with_map.value

    def _turn_theme(self) -> None:
        self.is_dark = not self.is_dark
        mark(self.page, "dark", self.is_dark)


def _toggle(words: str, on: bool, tooltip: str) -> widgets.ToggleButton:
    return widgets.ToggleButton(value=on, description=words, tooltip=tooltip)
