"""Widgets of the panel: thumbnails by the page, and filters that count.

They are buttons, so that mouse and Tab reach all of them; templates give them their looks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from uuid import uuid4

import ipywidgets as widgets

from nbutils.apps.html import in_words, render
from nbutils.apps.session import ALL, STATES, Entry, Unreadable

PAGE = 24  # thumbnails
Choose = Callable[[Entry | Unreadable], None]


def button(words: str, do: Callable[[], None], look: str = "", tooltip: str = "") -> widgets.Button:
    """Return a button that does something, with a look of the style sheet."""
    made = widgets.Button(
        description=words, tooltip=tooltip or None, layout=_layout(), style=_button_style()
    )
    made.add_class(f"steel-{look or 'plain'}")
    made.on_click(lambda _: do())
    return made


def box(look: str, *children: widgets.Widget) -> widgets.Box:
    """Return a box with a look of the style sheet."""
    made = widgets.Box(children, layout=_layout())
    made.add_class(f"steel-{look}")
    return made


def text(value: str = "") -> widgets.HTML:
    """Return a widget for HTML."""
    return widgets.HTML(value, layout=_layout(), style=_text_style())


def mark(widget: widgets.DOMWidget, look: str, on: bool) -> None:
    """Give a widget a look of the style sheet, or take it away."""
    (widget.add_class if on else widget.remove_class)(f"steel-{look}")


def show(widget: widgets.DOMWidget, on: bool) -> None:
    """Show or hide a widget."""
    mark(widget, "hidden", not on)


def is_shown(widget: widgets.DOMWidget) -> bool:
    """Tell whether a widget is shown."""
    return "steel-hidden" not in widget._dom_classes


# A widget brings a layout and a style of its own, each an object that a page has to fetch, unless
# it is given one: the style sheet says all that these could.
@cache
def _layout() -> widgets.Layout:
    return widgets.Layout()


@cache
def _button_style() -> widgets.ButtonStyle:
    return widgets.ButtonStyle()


@cache
def _text_style() -> widgets.Widget:
    return widgets.HTML().style


def unique_class(widget: widgets.DOMWidget) -> str:
    """Give a widget a class that no other has, for styles of its own."""
    name = f"steel-{uuid4().hex[:8]}"
    widget.add_class(name)
    return name


class Gallery:
    """A page of thumbnails, one of them chosen; `turned` is called after a person turns a page."""

    def __init__(self, choose: Choose, turned: Callable[[], None]):
        self.choose, self.turned = choose, turned
        self.entries: Sequence[Entry | Unreadable] = ()
        self.first = 0  # of the page
        self.buttons = [self._button(place) for place in range(PAGE)]
        self.grid = box("grid", *self.buttons)
        self.scope = unique_class(self.grid)
        self.images, self.states, self.count = text(), text(), text()
        self.back = button("←", lambda: self.turn(-1), tooltip="Page before")
        self.on = button("→", lambda: self.turn(1), tooltip="Next page")
        self.pager = box("pager", self.back, self.count, self.on)
        self.chosen: Entry | Unreadable | None = None

    def view(self) -> widgets.Box:
        """Return all of it."""
        return box("gallery", self.grid, self.pager, self.images, self.states)

    def show(
        self, entries: Sequence[Entry | Unreadable], chosen: Entry | Unreadable | None, total: int
    ) -> None:
        """Show entries, which are so many of a total, from the page of one that is newly chosen."""
        is_new = chosen is not self.chosen
        self.entries, self.chosen, self.total = entries, chosen, total
        if is_new and chosen in entries:
            self.first = entries.index(chosen) // PAGE * PAGE
        self.first = min(self.first, max(len(entries) - 1, 0) // PAGE * PAGE)
        self._draw()

    def turn(self, pages: int) -> None:
        """Go some pages on."""
        self.first = min(max(self.first + pages * PAGE, 0), (len(self.entries) - 1) // PAGE * PAGE)
        self._draw()
        self.turned()

    def page(self) -> Sequence[Entry | Unreadable]:
        """Return what is on the page."""
        return self.entries[self.first : self.first + PAGE]

    def _draw(self) -> None:
        page = self.page()
        for place, made in enumerate(self.buttons):
            show(made, place < len(page))
            if place < len(page):
                sign = STATES[page[place].state] + ("≠" if page[place].before else "")
                made.description = f"{sign} {Path(page[place].name).name}"
                made.tooltip = _describe(page[place])
        self.images.value = render("thumbnails.html", scope=self.scope, entries=page)
        self.states.value = render(
            "states.html", scope=self.scope, entries=page, chosen=self.chosen
        )
        number, pages = self.first // PAGE + 1, max(-(-len(self.entries) // PAGE), 1)
        self.count.value = render(
            "count.html", shown=len(self.entries), total=self.total, number=number, pages=pages
        )
        self.back.disabled, self.on.disabled = number == 1, number == pages
        show(self.back, pages > 1)
        show(self.on, pages > 1)

    def _button(self, place: int) -> widgets.Button:
        return button("", lambda: self.choose(self.entries[self.first + place]), "thumbnail")


class Filters:
    """Counts of states and of classes; a click shows these files only, a second one all."""

    def __init__(self, changed: Callable[[], None]):
        self.changed = changed
        self.state = self.label = ALL
        self.states = {
            state: button("", partial(self._choose_state, state), "count")
            for state in (ALL, "accept", "review", "reviewed", "unreadable")
        }
        self.classes: dict[str, widgets.Button] = {}
        self.bars, self.shares = box("classes"), text()
        self.scope = unique_class(self.bars)

    def view(self) -> widgets.Box:
        """Return all of it."""
        return box("filters", box("states", *self.states.values()), self.bars, self.shares)

    def use(self, classes: Iterable[str]) -> None:
        """Take the classes of a model."""
        self.state = self.label = ALL
        self.classes = {
            label: button(label, partial(self._choose_class, label), "class") for label in classes
        }
        self.bars.children = tuple(self.classes.values())

    def count(self, states: Mapping[str, int], classes: Mapping[str, int]) -> None:
        """Show how many files there are of each state and class."""
        total = sum(states.values())
        reviewed = states.get("confirmed", 0) + states.get("corrected", 0)
        words = {
            ALL: f"{total} {'image' if total == 1 else 'images'}",
            "accept": f"✓ {states.get('accept', 0)} accepted",
            "review": f"⚠ {states.get('review', 0)} to review",
            "reviewed": f"✎ {reviewed} reviewed",
            "unreadable": f"✕ {states.get('unreadable', 0)} unreadable",
        }
        for state, made in self.states.items():
            made.description = words[state]
            mark(made, "active", state == self.state)
        for label, made in self.classes.items():
            made.description = f"{in_words(label)} {classes.get(label, 0)}"
            mark(made, "active", label == self.label)
            show(made, label == self.label or classes.get(label, 0) > 0)
        most = max(classes.values(), default=1)
        shares = [classes.get(label, 0) / most for label in self.classes]
        self.shares.value = render("shares.html", scope=self.scope, shares=shares)

    def reset(self) -> None:
        """Show all files, without drawing them."""
        self.state = self.label = ALL

    def _choose_state(self, state: str) -> None:
        """Show a state, or all again; all images are those of all classes, too."""
        self.label = ALL if state == ALL else self.label
        self.state = ALL if state == self.state else state
        self.changed()

    def _choose_class(self, label: str) -> None:
        self.label = ALL if label == self.label else label
        self.changed()


def _describe(entry: Entry | Unreadable) -> str:
    """Say in a line what is known of a file."""
    if isinstance(entry, Unreadable):
        return entry.error
    prediction = entry.prediction
    said = f", {entry.state} as {in_words(entry.corrected)}" if entry.corrected else ""
    said += f", by the model before {entry.before}" if entry.before else ""
    return f"{entry.name}: {prediction.label} {prediction.confidence:.0%}{said}"
