"""The demo's panel: add images, see what a model predicts of them, and confirm or correct it."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from threading import RLock
from typing import IO

import ipywidgets as widgets

from nbutils import runs
from nbutils.apps import intake, report
from nbutils.apps.bridge import Bridge
from nbutils.apps.controls import Controls
from nbutils.apps.gallery import Filters, Gallery, show
from nbutils.apps.html import in_words
from nbutils.apps.intake import File
from nbutils.apps.session import Entry, Session, Unreadable
from nbutils.apps.worker import Worker
from nbutils.data import labels
from nbutils.disk import UserError
from nbutils.inference.predictor import load_predictor


class Panel:
    """Add images, see what a model predicts of them, and confirm or correct it.

    Parameters
    ----------
    model
        To begin with, as `runs.find_model` takes it.
    seed
        Of the drawn samples.
    root
        Folders below it can be read; None for none.
    suspects
        A run whose doubtful labels are looked at; empty for none.
    scale
        That images are enlarged by to be as those of training.
    """

    def __init__(
        self,
        model: str | Path,
        seed: int = 0,
        root: str | Path | None = None,
        suspects: str = "",
        scale: float = 1.0,
    ):
        name = runs.model_name(runs.find_model(model))
        self.seed, self.root, self.scale = seed, Path(root) if root else None, scale
        self.session = Session(load_predictor(name, scale=scale))
        self.chosen: Entry | Unreadable | None = None
        self.is_choice = False  # of a person; else the first is shown once all are classified
        self.shown: list[Entry | Unreadable] = []
        self.lock = RLock()
        self.gallery, self.filters = Gallery(self.choose, self._draw_table), Filters(self.refresh)
        self.controls = Controls(list(dict.fromkeys([name, *runs.list_models()])))
        self.bridge = Bridge(self._arrived, self.press, self._bridged)
        self._connect()
        self._use_model(name)
        fail = partial(self._say, kind="error")
        self.worker = Worker(self._advance, self._draw, self._finish, fail)
        if suspects:
            files = intake.list_suspects(suspects)
            self.add(lambda _: files)

    def view(self) -> widgets.Widget:
        """Return all of it as a widget to display."""
        return self.controls.page

    def _connect(self) -> None:
        """Lay out the controls, and say what each does."""
        actions = {
            "samples": self.add_samples,
            "folder": lambda: self.controls.ask_folder(),
            "read": self._read_folder,
            "stop": self.stop,
            "undo": self.undo,
            "export": lambda: self.controls.offer(report.export(self.session)),
            "clear": lambda: self.controls.ask_clear(len(self.session.entries)),
            "wipe": self.clear,
            "confirm": self.confirm,
        }
        self.controls.lay_out(
            actions, self.bridge, self.filters.view(), self.gallery.view(), bool(self.root)
        )
        self.controls.upload.observe(self._uploaded, names="value")
        self.controls.model.observe(lambda change: self._switch(change.new), names="value")
        for control in self.controls.looks:
            control.observe(lambda _: self.refresh(), names="value")

    # What comes in

    def add_samples(self) -> None:
        """Classify the drawn samples."""
        from nbutils.data import synthetic  # SciPy, for which no page should wait

        self.add_files(synthetic.example_files(self.seed))

    def add_files(self, files: Iterable[tuple[str, bytes | IO[bytes]]]) -> None:
        """Classify files, name and content each, while the panel stays responsive."""
        listed = [File(*file) for file in files]
        self.add(lambda _: listed)

    def add(self, source: Callable[[Callable[[], bool]], list[File]]) -> None:
        """Classify what a source lists; it is told whether to stop."""
        self.worker.begin(lambda stopped: self._classify(source, stopped))

    def stop(self) -> None:
        """Give up what has not come yet, or is not yet classified."""
        self.bridge.send({"kind": "stop"})
        self.worker.stop()

    def clear(self) -> None:
        """Begin anew; what a person said is kept in its file."""
        self.stop()
        with self.lock:
            self.session = Session(self.session.predictor)
            self.controls.close()
            self.chosen, self.is_choice = None, False
            self.filters.reset()
            self._say("")
            self.refresh()

    def _uploaded(self, change) -> None:
        if change.new:
            self.add_files((file.name, bytes(file.content)) for file in change.new)
            self.controls.upload.value = ()

    def _arrived(self, name: str, content: IO[bytes] | str) -> None:
        if isinstance(content, str):
            self.session.add_unreadable(name, content)
            self.refresh()
        else:
            self.add_files([(name, content)])

    def _bridged(self) -> None:
        """Leave the widgets that the browser does better to it."""
        show(self.controls.upload, False)

    def _read_folder(self) -> None:
        folder, root = self.controls.path.value, self.root
        if root:
            self._say(f"Listing {folder}.")
            note = self.worker.note
            self.add(lambda stopped: intake.list_folder(folder, root, stopped, note))

    def _switch(self, name: str) -> None:
        """Have another model classify the same images; the one before stays where it cannot."""
        before = self.session.predictor.name
        if name == before:
            return
        try:
            self.session.use(load_predictor(name, scale=self.scale))
        except UserError as error:
            self.controls.model.value = before
            self._say(str(error), "error")
            return
        self._use_model(name)
        self.worker.begin_lasting(self._classify_again())

    def _use_model(self, name: str) -> None:
        classes = self.session.predictor.classes
        self.filters.use(dict.fromkeys([*classes, labels.NO_DEFECT]))
        self.controls.use(name, classes, self.answer)
        self.controls.withdraw()
        self.refresh()

    # Classifying, in a thread of its own

    def _advance(self) -> None:
        self.controls.progress.value += 1

    def _draw(self) -> None:
        self.controls.work(True)
        self.refresh()

    def _finish(self, notices: list[str]) -> None:
        """Say what came of it, and show all."""
        self.controls.work(False)
        counts = self.session.counts()
        failed = counts["unreadable"]
        changed = sum(bool(entry.before) for entry in self.session.select("as added"))
        parts = [
            f"{_plural(counts.total() - failed, 'image')} classified",
            f"{changed} otherwise than by the model before" if changed else "",
            f"{_plural(failed, 'file')} could not be read" if failed else "",
        ]
        self._say(" ".join([f"{', '.join(filter(None, parts))}.", *notices]))
        if not self.is_choice:
            self.chosen = None
        self.refresh()

    def _classify(self, source, stopped: Callable[[], bool]) -> Iterator[None]:
        session, files = self.session, source(stopped)
        self.controls.progress.max += len(files)
        for file in files:
            try:
                session.predict(file.name, file.read(), file.stored)
            except Exception as error:  # whatever it is, the files after this one are classified
                session.add_unreadable(file.name, str(error) or type(error).__name__)
            yield

    def _classify_again(self) -> Iterator[None]:
        """Classify what another model has classified by the model of now."""
        session, predictor = self.session, self.session.predictor
        others = [entry for entry in session.images() if entry.model != predictor.name]
        self.controls.progress.max += len(others)
        for entry in others:
            if self.session is not session or session.predictor is not predictor:
                return  # all is cleared, or the job of a later model follows
            session.predict_again(entry)
            yield

    # What a person does

    def choose(self, entry: Entry | Unreadable | None) -> None:
        """Show a file large."""
        with self.lock:
            self.chosen, self.is_choice = entry, True
            self.refresh()

    def step(self, places: int) -> None:
        """Show the file some places on."""
        if self.chosen in self.shown:
            place = self.shown.index(self.chosen) + places
            self.choose(self.shown[min(max(place, 0), len(self.shown) - 1)])

    def confirm(self) -> None:
        """Say that the proposed class is right."""
        if isinstance(self.chosen, Entry):
            self.answer(self.chosen.proposed)

    def answer(self, label: str) -> None:
        """Say what the chosen image is, and go on to the next to review."""
        entry = self.chosen
        if not isinstance(entry, Entry):
            return
        self.controls.withdraw()
        following = self._following(entry)
        try:
            self.session.review(entry, label)
        except UserError as error:
            self._say(str(error), "error")
            return
        left = self.session.counts()["review"]
        rest = f"{left} left to review" if left else "nothing is left to review"
        self._say(f"{entry.name}: {entry.state} as {in_words(label)}; {rest}.")
        self.choose(following or entry)

    def undo(self) -> None:
        """Take the last answer back, and show its image."""
        self.controls.withdraw()
        try:
            entry = self.session.undo()
        except UserError as error:
            self._say(str(error), "error")
            return
        if entry:
            self._say(f"{entry.name}: taken back.")
            self.filters.reset()
            self.choose(entry)

    def press(self, key: str, chosen: str = "") -> None:
        """Do what a key stands for, unless another file is chosen by now than was on the screen."""
        if chosen not in ("", self.bridge.chosen):
            return
        classes = self.session.predictor.classes
        if key.isdigit() and 0 < int(key) <= len(classes):
            self.answer(classes[int(key) - 1])
        keys: dict[str, Callable[[], None]] = {
            "a": self.confirm,
            "0": lambda: self.answer(labels.NONE),
            "n": lambda: self.answer(labels.NO_DEFECT),
            "z": self.undo,
            "left": lambda: self.step(-1),
            "right": lambda: self.step(1),
            "+": self.controls.toggle_zoom,
            "m": self.controls.toggle_map,
        }
        keys.get(key, lambda: None)()

    def _following(self, entry: Entry) -> Entry | Unreadable | None:
        """Return the next file to review after one, from the top again at the end."""
        place = self.shown.index(entry) if entry in self.shown else 0
        others = [*self.shown[place + 1 :], *self.shown[:place]]
        return next((other for other in others if other.state == "review"), None)

    # What is shown

    def refresh(self) -> None:
        """Draw all of it."""
        with self.lock:
            session, filters, controls = self.session, self.filters, self.controls
            self.shown = session.select(controls.order.value, filters.label, filters.state)
            if self.chosen not in self.shown:
                self.chosen = self.shown[0] if self.shown else None
            filters.count(session.counts(), session.classes())
            self.gallery.show(self.shown, self.chosen, len(session.entries))
            self._draw_chosen()
            controls.draw(bool(session.entries), self.chosen, bool(session.history))
            self._draw_table()

    def _draw_table(self) -> None:
        is_shown = self.controls.as_table.value
        self.controls.table.value = report.table(self.gallery.page()) if is_shown else ""

    def _draw_chosen(self) -> None:
        self.bridge.chosen = str(id(self.chosen))
        if self.chosen is None:
            self.controls.detail.value = report.message("Nothing here: choose another count above.")
            return
        place, looks = self.shown.index(self.chosen) + 1, self.controls
        self.controls.detail.value = report.detail(
            self.chosen, place, len(self.shown), self.session,
            looks.with_map.value, looks.zoomed.value,
        )  # fmt: skip

    def _say(self, text: str, kind: str = "quiet") -> None:
        self.controls.status.value = report.message(text, kind)
        self.bridge.said = text


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
