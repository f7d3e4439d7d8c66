"""What the demo shows as HTML: cards, the chosen image, tables, and the page of a session.

All HTML is in `templates/`; what is put into it is escaped there.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from nbutils import runs
from nbutils.apps import html
from nbutils.apps.html import data_url, render
from nbutils.apps.session import Entry, Session, Unreadable

TOP = 3  # classes of a card
SMALL = 0.01  # probabilities below it are counted, not listed
PREVIEW = 1400  # pixels, longer side of an image that is not zoomed
MAX_BOXES = 50  # drawn on an image
MAX_BOXES_ZOOMED = 1000  # on one whose pixels are all to be seen
MAX_CARDS = 200  # of a page that can be mailed


def message(text: str, kind: str = "quiet") -> str:
    """Show a sentence, of the kind `quiet` or `error`."""
    return render("message.html", text=text, kind=kind)


def card(entry: Entry | Unreadable, top: int = TOP, with_map: bool = True) -> str:
    """Show a file with its `top` most probable classes, or with its error.

    Where the model says where the defects are, their map and boxes may lie over the image.
    """
    if isinstance(entry, Unreadable):
        return render("card.html", error=entry.error)
    return render("card.html", entry=entry, top=top, **_evidence(entry, with_map))


def detail(
    entry: Entry | Unreadable, place: int, count: int, session: Session,
    with_map: bool = True, zoomed: bool = False,
) -> str:  # fmt: skip
    """Show a file large, as the `place`-th of so many: pictures, reasons, probabilities, novelty.

    Zoomed, it is one picture of all pixels.
    """
    facts = {"entry": entry, "place": place, "count": count, "zoomed": zoomed}
    if isinstance(entry, Unreadable):
        return render("detail.html", **facts)
    everything = entry.prediction.top(len(entry.prediction.probabilities))
    bars = [pair for pair in everything if pair[1] >= SMALL]
    return render(
        "detail.html",
        **facts,
        **_evidence(entry, with_map, MAX_BOXES_ZOOMED if zoomed else MAX_BOXES),
        **_limits(entry, session),
        source=html.encode(entry.gray, None if zoomed else PREVIEW),
        colors=html.legend(),
        bars=bars,
        others=len(everything) - len(bars),
    )


def static_preview(session: Session, files: Iterable[tuple[str, bytes]]) -> str:
    """Classify files, name and content each, into HTML that needs no kernel."""
    return render("preview.html", cards=[card(session.predict(*file)) for file in files])


def table(entries: Sequence[Entry | Unreadable]) -> str:
    """Show files as the rows of a table."""
    return render("table.html", entries=entries)


def export(session: Session) -> str:
    """Show links that download a session as a table, and as a page that can be mailed."""
    return render(
        "export.html",
        name=f"session_{datetime.now():%Y-%m-%d_%H%M}",
        images=len(session.entries),
        csv=data_url("text/csv", session.to_csv().encode("utf-8", "backslashreplace")),
        page=data_url("text/html", session_page(session).encode("utf-8", "backslashreplace")),
    )


def session_page(session: Session) -> str:
    """Return a session as one page: its counts, review queue, corrections, and all rows."""
    queue = session.select("most doubtful first", state="review")
    reviewed = session.select("most doubtful first", state="reviewed")
    return render(
        "session.html",
        model=model_facts(session.predictor.name),
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        states=session.counts(),
        classes=session.classes(),
        total=len(session.entries),
        queue=queue,
        cards=[card(entry) for entry in queue[:MAX_CARDS]],
        reviewed=reviewed,
        entries=session.entries,
    )


def model_facts(name: str) -> tuple[str, str]:
    """Say in short and in words how a model did on its test part."""
    file = runs.find_model(name) / runs.METRICS
    if not file.exists():
        return "not evaluated", f"{name}: not evaluated on test images."
    results = runs.read_json(file)
    test, data = results["test"], results["data"]
    low, high = test["accuracy_interval"]
    return (
        f"{test['accuracy']:.1%} of {test['images']}",
        f"{name}: {test['accuracy']:.2%} of {test['images']} test images of {data} right "
        f"(95 % interval {low:.1%} to {high:.1%}).",
    )


def _evidence(entry: Entry, with_map: bool, max_boxes: int = MAX_BOXES) -> dict[str, Any]:
    """Return what lies over an image: its map, and as many boxes as can be seen."""
    prediction, heat = entry.prediction, entry.prediction.defect_map
    return {
        "evidence": with_map and entry.has_evidence,
        "map": html.encode_map(heat) if with_map and heat is not None else "",
        "defects": prediction.defects[:max_boxes] if with_map else (),
    }


def _limits(entry: Entry, session: Session) -> dict[str, Any]:
    """Return the thresholds of a model, and what a novelty means in words."""
    policy, novelty = session.predictor.policy, entry.prediction.novelty
    if policy is None or novelty != novelty:
        return {}
    confidence, limit = policy.thresholds.confidence, policy.thresholds.novelty
    words = "farther from the training images than the limit"
    if novelty <= limit:
        words = "like the training images" if novelty <= 1.1 else "within the limit"
    return {
        "limit": confidence if confidence <= 1 else None,
        "novelty_limit": limit,
        "novelty_words": words,
    }
