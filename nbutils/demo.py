"""The upload demo: a panel of widgets around a session."""

import html
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event, Thread

import ipywidgets as widgets

from nbutils import cards, layouts, paths, samples
from nbutils.controls import Controls
from nbutils.evidence import Evidence
from nbutils.images import MAX_BYTES, MAX_PIXELS, SUFFIXES
from nbutils.paths import UserError
from nbutils.predict import fastest, find_model, known_models, load_predictor
from nbutils.session import ALL, Entry, Session

PAGE = 12  # cards shown at once
AT_ONCE = 4  # maps that are computed together: the first are soon there
File = tuple[str, Callable[[], bytes]]  # name, and what reads the content
LIMITS = f"Files of at most {MAX_BYTES // 2**20} MB and {MAX_PIXELS // 10**6} million pixels."


class Panel(Controls):
    """Choose images, see what the model says of them, and correct it.

    Parameters
    ----------
    model
        Run or reference model to begin with.
    top
        Classes charted of each image, at first.
    seed
        Of the drawn samples.
    """

    def __init__(self, model: str, top: int, seed: int):
        super().__init__(list(dict.fromkeys([model, *known_models()])), top)
        self.seed = seed
        self.stopped = Event()
        self.worker = Thread()
        self.seen: list[Entry] = []
        self.wanted = Event()  # maps of what is seen
        self._watch()
        self._take(model)
        Thread(target=self._explain, daemon=True).start()

    def _watch(self) -> None:
        self.upload.observe(self._uploaded, names="value")
        self.read.on_click(lambda _: self._read_folder())
        self.try_out.on_click(lambda _: self.judge(_loaded(samples.drawn(self.seed))))
        self.stop.on_click(lambda _: self.stopped.set())
        self.clear.on_click(lambda _: self._load(self.model.value))
        self.model.observe(lambda change: self._load(change.new), names="value")
        for control in (self.top, self.overlay, self.strength, self.label, self.verdict,
                        self.order, self.page):  # fmt: skip
            control.observe(lambda _: self.refresh(), names="value")

    def _load(self, name: str) -> None:
        """Take another model; the one before stays where it cannot be loaded."""
        self.halt()
        try:
            self._take(name)
        except UserError as error:
            self._say(str(error), wrong=True)

    def _take(self, name: str) -> None:
        """Begin a session with a model."""
        predictor = load_predictor(name, fastest(name))
        self.seen = []
        self.session = Session(predictor)
        self.evidence = Evidence(name)
        self.maps, self.widgets = {}, {}
        self.top.max = len(predictor.classes)
        self.label.options = [ALL, *predictor.classes]
        self.facts.value = f'<div class="inspect quiet">{_facts(self.model.value)} {LIMITS}</div>'
        self._say("")
        self.show()

    def _uploaded(self, change) -> None:
        if change.new:
            self.judge(_loaded([(file.name, bytes(file.content)) for file in change.new]))
            self.upload.value = ()

    def _read_folder(self) -> None:
        try:
            files = layouts.find_files(Path(self.folder.value).expanduser(), SUFFIXES)
        except UserError as error:
            self._say(str(error), wrong=True)
            return
        self.judge([(str(file), file.read_bytes) for file in files])

    def judge(self, files: Iterable[File]) -> None:
        """Classify files in the background, while the panel answers."""
        self.halt()
        self.stopped.clear()
        self.worker = Thread(target=self._judge, args=(list(files),), daemon=True)
        self.worker.start()

    def halt(self) -> None:
        """Stop what runs, and wait for it."""
        self.stopped.set()
        if self.worker.is_alive():
            self.worker.join()

    def _judge(self, files: list[File]) -> None:
        self.stop.disabled = False
        self.progress.max, self.progress.value = max(len(files), 1), 0
        for at, (name, read) in enumerate(files, start=1):
            if self.stopped.is_set():
                break
            try:
                self.session.judge(name, read())
            except OSError as error:
                self.session.entries.append(Entry(name, error=f"{name} cannot be read ({error})"))
            self.progress.value = at
            if at in (1, PAGE):
                self.show()
        self.stop.disabled = True
        broken = sum(bool(entry.error) for entry in self.session.entries)
        done = f"{self.progress.value} of {len(files)} files judged."
        self._say(f"{done} {broken} could not be read." if broken else done)
        self.refresh()

    def refresh(self) -> None:
        """Draw this page, and have the maps that it lacks computed in the background."""
        self.show()
        if self.overlay.value:
            self.wanted.set()

    def show(self) -> None:
        """Draw the cards of this page, and the table."""
        chosen = self.session.select(self.order.value, self.label.value, self.verdict.value)
        self.page.max = max(-(-len(chosen) // PAGE), 1)
        first = PAGE * (self.page.value - 1)
        self.seen = chosen[first : first + PAGE]
        self.cards.children = [self._card(entry) for entry in self.seen]
        self.table.value = cards.table(self.session.table())

    def _explain(self) -> None:
        """Wait until maps are wanted, and compute those that this page lacks, again and again."""
        while self.wanted.wait():
            self.wanted.clear()
            while self._explain_some():
                pass

    def _explain_some(self) -> bool:
        """Compute some of the maps that this page lacks; tell whether to go on."""
        evidence, maps = self.evidence, self.maps  # of this session, if another begins
        lacking = [one for one in self.seen if not one.error and id(one) not in maps][:AT_ONCE]
        if not lacking:
            return False
        labels = [entry.prediction.label for entry in lacking]
        try:
            heats = evidence.heats([entry.gray for entry in lacking], labels)
        except UserError as error:
            self._say(str(error), wrong=True)
            return False
        maps.update(zip(map(id, lacking), heats, strict=True))
        if evidence is self.evidence:
            for entry in lacking:
                self._card(entry)
        return True

    def _card(self, entry: Entry) -> widgets.Widget:
        """Return the widget of a file, made once and brought up to date."""
        heat = self.maps.get(id(entry)) if self.overlay.value else None
        prepared = self.session.prepared(entry)
        if id(entry) not in self.widgets:
            text = widgets.HTML()
            line = widgets.Layout(border_bottom="1px solid #8885", padding="8px 0")
            below = [] if entry.error else [self._correction(entry)]
            self.widgets[id(entry)] = widgets.VBox([text, *below], layout=line)
        card = self.widgets[id(entry)]
        card.children[0].value = cards.card(
            entry, prepared, self.top.value, heat, self.strength.value
        )
        return card

    def _correction(self, entry: Entry) -> widgets.Widget:
        classes = self.session.predictor.classes
        choice = widgets.Dropdown(
            options=[("as predicted", ""), *zip(classes, classes, strict=True)],
            value=entry.corrected,
            description="Correct to",
        )

        def correct(change) -> None:
            self.session.correct(entry, change.new or entry.prediction.label)
            self._say(f"{entry.name}: noted as {change.new or entry.prediction.label}.")
            self.table.value = cards.table(self.session.table())

        choice.observe(correct, names="value")
        return choice

    def _say(self, words: str, wrong: bool = False) -> None:
        kind = "error" if wrong else "quiet"
        self.status.value = (
            f'<div class="inspect"><div class="{kind}">{html.escape(words)}</div></div>'
        )


def _loaded(files: Iterable[tuple[str, bytes]]) -> list[File]:
    return [(name, lambda data=data: data) for name, data in files]


def _facts(name: str) -> str:
    """Say how a model did on its test part."""
    file = find_model(name) / "metrics.json"
    if not file.exists():
        return f"{name}: not judged on test images."
    results = paths.read_json(file, "02_training")
    low, high = results["test"]["accuracy_interval"]
    return (
        f"{name}: {results['test']['accuracy']:.2%} of {results['test']['images']} test images of "
        f"{results['data']} right (95 % interval {low:.1%} to {high:.1%})."
    )
