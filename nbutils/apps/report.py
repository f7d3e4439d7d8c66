"""What the demo and a batch inspection show as HTML: cards, tables, and the inspection page.

All HTML is in `templates/`; what is put into it is escaped there.
"""

import base64
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from nbutils import runs
from nbutils.apps.session import DECISIONS, Entry, Session, Unreadable, explain
from nbutils.data.images import ImageError, decode
from nbutils.inference.explain import Explainer
from nbutils.inference.predictor import SEPARATOR, Prediction
from nbutils.plots import style, uncertainty
from nbutils.uncertainty import drift
from nbutils.uncertainty.review import load_policy

PAGE = "inspection.html"
THUMBNAIL = 180  # pixels, longer side
TOP, STRENGTH = 3, 0.7  # of the cards of an inspection
CHUNK_ROWS = 5000  # of the table that are held at once
CHUNK_CARDS = 64  # of an inspection that are held at once
TEXT_COLUMNS = [
    "path", "label", "predicted", "decision", "reasons", "prediction_set", "sha256", "error",
    "notice",
]  # fmt: skip


@cache
def environment() -> jinja2.Environment:
    """Return the templates, which escape all that is put into them."""
    loader = jinja2.PackageLoader("nbutils.apps")
    templates = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["percent"] = "{:.1%}".format
    return templates


def render(template: str, **values: Any) -> str:
    """Fill a template of `templates/`."""
    return environment().get_template(template).render(values)


def message(text: str, kind: str = "quiet") -> str:
    """Show a sentence, of the kind `quiet` or `error`."""
    return render("message.html", text=text, kind=kind)


def card(
    entry: Entry | Unreadable,
    preparation: str,
    top: int,
    overlaid: bool = True,
    strength: float = STRENGTH,
) -> str:
    """Show a file with its prediction, or with its error.

    Parameters
    ----------
    entry
        Of a session.
    preparation
        What was done to the image.
    top
        Classes to chart.
    overlaid
        Whether to lay the activation map over the image, where there is one.
    strength
        Of the map, in [0, 1].
    """
    return render("card.html", card=_card(entry, preparation, top, overlaid, strength))


def static_preview(session: Session, files: Iterable[tuple[str, bytes]], top: int) -> str:
    """Classify files, name and content each, into HTML that needs no kernel."""
    entries = [session.predict(name, data) for name, data in files]
    cards = [_card(entry, session.preparation(entry), top) for entry in entries]
    return render("preview.html", cards=cards)


def table(session: Session) -> str:
    """Show the table of a session, with a link that downloads all its columns as CSV."""
    rows = session.table().to_dict("records")
    download = _data_url("text/csv", session.to_csv().encode())
    return render("table.html", rows=rows, download=download)


def overlay(gray: np.ndarray, heatmap: np.ndarray, strength: float) -> np.ndarray:
    """Lay an activation map over an image: uint8 (height, width, 3)."""
    height, width = gray.shape
    image = Image.fromarray((255 * heatmap).astype(np.uint8)).resize((width, height))
    resized = np.asarray(image) / 255
    colors = 255 * colormaps["inferno"](resized)[..., :3]
    alpha = strength * resized[..., np.newaxis]
    return (gray[..., np.newaxis] * (1 - alpha) + colors * alpha).astype(np.uint8)


def thumbnail(pixels: np.ndarray) -> str:
    """Return a small copy of an image, uint8 gray or RGB, as a data URL."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "PNG")
    return _data_url("image/png", file.getvalue())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _card(
    entry: Entry | Unreadable,
    preparation: str,
    top: int,
    overlaid: bool = True,
    strength: float = STRENGTH,
) -> dict[str, Any]:
    """Return what `card.html` shows."""
    if isinstance(entry, Unreadable):
        return {"error": entry.error}
    pixels, shows, prediction = entry.gray, "image", entry.prediction
    if overlaid and entry.heatmap is not None:
        pixels, shows = overlay(entry.gray, entry.heatmap, strength), "with its activation map"
    return {
        "name": entry.name,
        "prediction": prediction,
        "preparation": preparation,
        "image": thumbnail(pixels),
        "shows": shows,
        "alternatives": [name for name in prediction.prediction_set if name != prediction.label],
        "probabilities": prediction.top(top),
    }


@dataclass
class Summary:
    """An inspection: its counts, the head of its review queue, and its drift."""

    counts: pd.DataFrame = field(  # images, predicted class x decision
        default_factory=lambda: pd.DataFrame(columns=list(DECISIONS), dtype=int)
    )
    queue: pd.DataFrame = field(default_factory=pd.DataFrame)  # rows to review, see `doubt`
    n_unlike: int = 0  # images to review that are unlike the training images
    errors: list[str] = field(default_factory=list)
    n_errors: int = 0
    drift: pd.DataFrame | None = None  # as `drift.test_batch` returns it

    def add(self, rows: pd.DataFrame, novelty: float, max_review_rows: int) -> pd.DataFrame:
        """Take in rows of the table; return those of images that were read.

        Parameters
        ----------
        rows
            As `read_table` returns them.
        novelty
            Above which an image is unlike the training images.
        max_review_rows
            Longest review queue, and most errors.
        """
        failed = rows["error"] != ""
        self.n_errors += int(failed.sum())
        self.errors += rows["error"][failed].tolist()[: max_review_rows - len(self.errors)]
        rows = rows[~failed]
        counts = pd.crosstab(rows["predicted"], rows["decision"]).reindex(columns=list(DECISIONS))
        self.counts = self.counts.add(counts, fill_value=0).fillna(0).astype(int)
        review = rows[rows["decision"] == "review"]
        self.n_unlike += int((review["novelty"] > novelty).sum())
        review = review.assign(doubt=doubt(review, novelty))
        self.queue = pd.concat([self.queue, review]).nlargest(max_review_rows, "doubt")
        return rows


def doubt(rows: pd.DataFrame, novelty: float) -> pd.Series:
    """Return what the review queue is sorted by, highest first.

    Above 1, and rising with novelty, for images unlike the training images, whose class says
    least; for the others, how much is missing from full confidence.
    """
    return (1 - rows["confidence"]).where(~(rows["novelty"] > novelty), 1 + rows["novelty"])


def read_table(folder: Path) -> Iterator[pd.DataFrame]:
    """Read `inspections.csv` of a folder in parts; numbers that an error leaves out are NaN."""
    file = runs.require(folder / runs.INSPECTIONS)
    for rows in pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=CHUNK_ROWS):
        columns = rows.columns.difference(TEXT_COLUMNS)
        rows[columns] = rows[columns].apply(pd.to_numeric, errors="coerce")
        yield rows


def summarize(folder: Path, max_review_rows: int) -> Summary:
    """Sum up an inspection, with at most so many rows of its review queue and of its errors."""
    model = Path(runs.read_json(folder / runs.INSPECTION)["model"])
    policy, reference = load_policy(model), drift.load_reference(model)
    novelty = policy.thresholds.novelty if policy else np.inf
    summary = Summary()
    parts = (summary.add(rows, novelty, max_review_rows) for rows in read_table(folder))
    if reference:
        summary.drift = drift.test_batch(parts, reference)
    else:
        for _ in parts:
            pass
    return summary


def write(folder: Path, summary: Summary) -> Path:
    """Write `inspection.html`, which holds all its figures, and return it."""
    facts = runs.read_json(folder / runs.INSPECTION)
    model = Path(facts["model"])
    inspected = datetime.fromtimestamp((folder / runs.INSPECTIONS).stat().st_mtime).astimezone()
    page = environment().get_template(PAGE).stream(
        facts=facts,
        date=inspected.strftime("%Y-%m-%d %H:%M %Z"),
        model=runs.model_name(model),
        summary=summary,
        **_counts(summary),
        drift=_drift(folder, summary.drift),
        cards=_cards(summary.queue, Explainer(model)),
        table=runs.INSPECTIONS,
    )  # fmt: skip
    with runs.atomic_write(folder / PAGE) as tmp:
        page.dump(str(tmp), encoding="utf-8")
    return folder / PAGE


def _counts(summary: Summary) -> dict[str, Any]:
    counts = summary.counts.assign(images=summary.counts.sum(axis=1))
    totals = counts.sum()
    return {
        "counts": counts,
        "totals": totals,
        "n_images": totals["images"] + summary.n_errors,
        "n_review": totals["review"],
    }


def _drift(folder: Path, result: pd.DataFrame | None) -> dict[str, Any] | None:
    """Save the figure of `drift.test_batch`, and return what the page shows of it."""
    if result is None:
        return None
    with plt.rc_context():
        style.use_style()
        figure = uncertainty.drift(result)
        style.save(figure, folder, "drift")
        plt.close(figure)
    return {
        "drifted": result.attrs["drifted"],
        "sentence": drift.describe(result),
        "figure": _data_url("image/png", (folder / "figures" / "drift.png").read_bytes()),
    }


def _cards(queue: pd.DataFrame, explainer: Explainer) -> Iterator[dict[str, Any]]:
    """Return the cards of a review queue; only a part of them is in memory at once."""
    for start in range(0, len(queue), CHUNK_CARDS):
        rows = queue.iloc[start : start + CHUNK_CARDS].to_dict("records")
        entries = [_entry(row) for row in rows]
        explain([entry for entry in entries if isinstance(entry, Entry)], explainer)
        for entry in entries:
            yield _card(entry, _size(entry), TOP)


def _size(entry: Entry | Unreadable) -> str:
    if isinstance(entry, Unreadable):
        return ""
    height, width = entry.gray.shape
    return f"{width} x {height} gray"


def _entry(row: dict[Any, Any]) -> Entry | Unreadable:
    """Return a row of the table with its image, as a session would hold it."""
    probabilities = {name[2:]: value for name, value in row.items() if name.startswith("p_")}
    members, reasons = (
        tuple(row[name].split(SEPARATOR)) if row[name] else ()
        for name in ("prediction_set", "reasons")
    )
    try:
        gray = decode(Path(row["path"]).read_bytes(), row["path"])
    except (ImageError, OSError) as error:
        return Unreadable(row["path"], f"no longer readable: {error}")
    return Entry(row["path"], gray, Prediction(probabilities, row["novelty"], members, reasons))
