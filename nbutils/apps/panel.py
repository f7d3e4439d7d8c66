"""The demo's panel: choose images, see what a model predicts of them, and correct it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Event, Thread

import ipywidgets as widgets

from nbutils import runs
from nbutils.apps import report
from nbutils.apps.session import ALL, DECISIONS, ORDERS, Entry, Session, Unreadable, explain
from nbutils.data import image_list, synthetic
from nbutils.data.files import SUFFIXES
from nbutils.data.images import MAX_BYTES, MAX_PIXELS, ImageError, read_file
from nbutils.inference.predictor import load_predictor
from nbutils.runs import UserError

WIDE = {"layout": widgets.Layout(width="auto", min_width="200px")}
SLIDER = {"layout": widgets.Layout(width="300px")}
PAGE_CARDS = 12  # shown at once
BATCH_SIZE = 4  # activation maps that are computed together: the first are soon there
LIMITS = f"Files of at most {MAX_BYTES // 2**20} MB and {MAX_PIXELS // 10**6} million pixels."


class Controls:
    """Widgets to choose images and a model by, and to show what came of it."""

    def __init__(self, models: Sequence[str], top: int):
        self.model = _dropdown("Model", models)
        kinds = {"accept": ",".join(SUFFIXES), "multiple": True}
        self.upload = widgets.FileUpload(description="Upload images", **kinds, **WIDE)
        self.folder = widgets.Text(placeholder="a folder here", description="Folder", **WIDE)
        self.read, self.samples = _button("Read the folder"), _button("Try SYNTHETIC samples")
        self.stop, self.clear = _button("Stop"), _button("Clear")
        self.progress = widgets.IntProgress(layout=widgets.Layout(width="98%"), min=0, max=1)
        self.top = widgets.IntSlider(top, 1, max(top, 1), description="Classes", **SLIDER)
        shown = "Show activation maps"
        self.overlay = widgets.Checkbox(True, description=shown, indent=False, **WIDE)
        strength = report.STRENGTH
        self.strength = widgets.FloatSlider(strength, max=1, description="Strength", **SLIDER)
        self.label = _dropdown("Class", [ALL])
        self.decision = _dropdown("Decision", [ALL, *DECISIONS])
        self.order = _dropdown("Order", list(ORDERS))
        self.page = widgets.BoundedIntText(1, min=1, max=1, description="Page", **WIDE)
        self.facts, self.status, self.table = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.cards = widgets.VBox()

    def view(self) -> widgets.Widget:
        """Return all of it as a widget to display."""
        return widgets.VBox([
            widgets.HTML(report.render("style.html")),
            _row(self.model, self.upload, self.samples, self.clear),
            self.facts,
            _row(self.folder, self.read, self.stop),
            self.progress,
            self.status,
            _row(self.top, self.overlay, self.strength),
            _row(self.label, self.decision, self.order, self.page),
            self.cards,
            self.table,
        ])  # fmt: skip


class Panel(Controls):
    """Choose images, see what a model predicts of them, and correct it.

    It begins with a model, as `runs.find_model` takes it, and the `top` most probable classes of
    each image; `seed` is that of the drawn samples.
    """

    def __init__(self, model: str | Path, top: int, seed: int):
        name = runs.model_name(runs.find_model(model))
        super().__init__(list(dict.fromkeys([name, *runs.list_models()])), top)
        self.seed = seed
        self.stopped = Event()
        self.worker = Thread()
        self.maps_wanted = Event()
        self._start(name)
        self._connect()
        Thread(target=self._explain, daemon=True).start()

    def _connect(self) -> None:
        """Say what each widget does."""
        self.upload.observe(self._uploaded, names="value")
        self.read.on_click(lambda _: self._read_folder())
        self.samples.on_click(lambda _: self.predict(synthetic.example_files(self.seed)))
        self.stop.on_click(lambda _: self.stopped.set())
        self.clear.on_click(lambda _: self._start(self.session.predictor.name))
        self.model.observe(lambda change: self._switch(change.new), names="value")
        shown = self.top, self.overlay, self.strength
        for control in (*shown, self.label, self.decision, self.order, self.page):
            control.observe(lambda _: self.refresh(), names="value")

    def _switch(self, name: str) -> None:
        """Take another model; the one before stays where it cannot be loaded."""
        before = self.session.predictor.name
        if name == before:
            return
        try:
            self._start(name)
        except UserError as error:
            self.model.value = before
            self._say(str(error), "error")

    def _start(self, name: str) -> None:
        """Begin a session with a model."""
        predictor = load_predictor(name)
        self.halt()
        self.session = Session(predictor)
        self.widgets: dict[Entry | Unreadable, widgets.VBox] = {}
        self.top.max = len(predictor.classes)
        self.label.options = [ALL, *predictor.classes]
        self.facts.value = report.message(f"{_model_facts(name)} {LIMITS}")
        self._say("")
        self.show()

    def _uploaded(self, change) -> None:
        if change.new:
            self.predict((file.name, bytes(file.content)) for file in change.new)
            self.upload.value = ()

    def _read_folder(self) -> None:
        try:
            files = list(image_list.list_images([self.folder.value]))
        except UserError as error:
            self._say(str(error), "error")
            return
        self.predict((file, Path(file)) for file in files)

    def predict(self, files: Iterable[tuple[str, bytes | Path]]) -> None:
        """Classify files (name, and content or where it is) while the panel stays responsive."""
        self.halt()
        self.stopped.clear()
        self.worker = Thread(target=self._predict, args=(list(files),), daemon=True)
        self.worker.start()

    def halt(self) -> None:
        """Stop what is being classified, and wait for it."""
        self.stopped.set()
        if self.worker.is_alive():
            self.worker.join()

    def _predict(self, files: Sequence[tuple[str, bytes | Path]]) -> None:
        self.stop.disabled = False
        self.progress.max, self.progress.value = max(len(files), 1), 0
        for number, (name, content) in enumerate(files, start=1):
            if self.stopped.is_set():
                break
            try:
                data = read_file(content) if isinstance(content, Path) else content
                self.session.predict(name, data)
            except ImageError as error:
                self.session.entries.append(Unreadable(name, str(error)))
            self.progress.value = number
            if number in (1, PAGE_CARDS):
                self.show()
        self.stop.disabled = True
        failed = sum(isinstance(entry, Unreadable) for entry in self.session.entries)
        done = f"{self.progress.value} of {len(files)} files classified."
        self._say(f"{done} {failed} could not be read." if failed else done)
        self.refresh()

    def refresh(self) -> None:
        """Draw this page, and have the maps that it lacks computed in the background."""
        self.show()
        if self.overlay.value:
            self.maps_wanted.set()

    def show(self) -> None:
        """Draw the cards of this page, and the table."""
        session = self.session
        entries = session.select(self.order.value, self.label.value, self.decision.value)
        self.page.max = max(-(-len(entries) // PAGE_CARDS), 1)
        first = PAGE_CARDS * (self.page.value - 1)
        entries = entries[first : first + PAGE_CARDS]
        self.cards.children = [self._card(entry) for entry in entries]
        self.shown = session, entries  # together, for the thread that computes maps
        self.table.value = report.table(session)

    def _explain(self) -> None:
        """Compute the maps that this page lacks, some at a time, whenever they are wanted."""
        while self.maps_wanted.wait():
            self.maps_wanted.clear()
            session, entries = self.shown
            images = (entry for entry in entries if isinstance(entry, Entry))
            lacking = [entry for entry in images if entry.heatmap is None][:BATCH_SIZE]
            try:
                explain(lacking, session.explainer)
            except UserError as error:
                self._say(str(error), "error")
                continue
            for entry in lacking:
                if entry in self.shown[1]:
                    self._card(entry)
            if lacking:
                self.maps_wanted.set()

    def _card(self, entry: Entry | Unreadable) -> widgets.Widget:
        """Return the widget of a file, made once and brought up to date."""
        if entry not in self.widgets:
            line = widgets.Layout(border_bottom="1px solid #8885", padding="8px 0")
            below = [self._correction(entry)] if isinstance(entry, Entry) else []
            self.widgets[entry] = widgets.VBox([widgets.HTML(), *below], layout=line)
        card = self.widgets[entry]
        shown = self.top.value, self.overlay.value, self.strength.value
        card.children[0].value = report.card(entry, *shown)
        return card

    def _correction(self, entry: Entry) -> widgets.Widget:
        classes = self.session.predictor.classes
        choice = widgets.Dropdown(
            options=[("as predicted", ""), *zip(classes, classes, strict=True)],
            value=entry.corrected,
            description="Correct to",
        )

        def correct(change) -> None:
            label = change.new or entry.prediction.label
            self.session.correct(entry, label)
            self._say(f"{entry.name}: corrected to {label}.")
            self.table.value = report.table(self.session)

        choice.observe(correct, names="value")
        return choice

    def _say(self, text: str, kind: str = "quiet") -> None:
        self.status.value = report.message(text, kind)


def _dropdown(description: str, options: Sequence[str]) -> widgets.Dropdown:
    return widgets.Dropdown(options=options, description=description, **WIDE)


def _button(description: str) -> widgets.Button:
    return widgets.Button(description=description, **WIDE)


def _row(*children: widgets.Widget) -> widgets.Box:
    flow = widgets.Layout(flex_flow="row wrap", grid_gap="4px 8px", align_items="center")
    return widgets.Box(children, layout=flow)


def _model_facts(name: str) -> str:
    """Say how a model did on its test part."""
    file = runs.find_model(name) / runs.METRICS
    if not file.exists():
        return f"{name}: not evaluated on test images."
    results = runs.read_json(file)
    low, high = results["test"]["accuracy_interval"]
    return (
        f"{name}: {results['test']['accuracy']:.2%} of {results['test']['images']} test images of "
        f"{results['data']} right (95 % interval {low:.1%} to {high:.1%})."
    )
