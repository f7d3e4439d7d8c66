"""The page of a batch inspection: its counts, its review queue, its drift."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from nbutils import runs
from nbutils.apps import html, report
from nbutils.apps.session import DECISIONS, Entry, Unreadable, explain
from nbutils.data.images import ImageError, decode
from nbutils.inference.explain import Explainer
from nbutils.inference.predictor import SEPARATOR, Prediction
from nbutils.plots import style, uncertainty
from nbutils.uncertainty import drift
from nbutils.uncertainty.review import load_policy

PAGE = "inspection.html"
CHUNK_ROWS = 5000  # of the table that are held at once
CHUNK_CARDS = 64  # of an inspection that are held at once
TEXT_COLUMNS = [
    "path", "label", "predicted", "decision", "reasons", "prediction_set", "sha256", "error",
    "notice",
]  # fmt: skip


@dataclass
class Summary:
    """An inspection: its counts, the head of its review queue, and its drift."""

    counts: pd.DataFrame = field(  # images, predicted class x decision
        default_factory=lambda: pd.DataFrame(columns=list(DECISIONS), dtype=int)
    )
    queue: pd.DataFrame = field(default_factory=pd.DataFrame)  # to review, most doubtful first
    n_unlike: int = 0  # images to review that are unlike the training images
    errors: list[str] = field(default_factory=list)
    n_errors: int = 0
    drift: pd.DataFrame | None = None  # as `drift.test_batch` returns it

    def add(self, rows: pd.DataFrame, novelty: float, max_review_rows: int) -> pd.DataFrame:
        """Take in rows of `read_table`; return those of images that were read.

        Above the novelty an image is unlike the training images.
        """
        failed = rows["error"] != ""
        self.n_errors += int(failed.sum())
        self.errors += rows["error"][failed].tolist()[: max_review_rows - len(self.errors)]
        rows = rows[~failed]
        counts = pd.crosstab(rows["predicted"], rows["decision"]).reindex(columns=list(DECISIONS))
        self.counts = self.counts.add(counts, fill_value=0).fillna(0).astype(int)
        review = rows[rows["decision"] == "review"]
        unlike = review["novelty"] > novelty  # their class says least: first, above 1
        doubt = (1 - review["confidence"]).where(~unlike, 1 + review["novelty"])
        review = review.assign(doubt=doubt)
        self.n_unlike += int(unlike.sum())
        self.queue = pd.concat([self.queue, review]).nlargest(max_review_rows, "doubt")
        return rows


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
    counts = summary.counts.assign(images=summary.counts.sum(axis=1))
    page = html.environment().get_template(PAGE).stream(
        facts=facts,
        date=inspected.strftime("%Y-%m-%d %H:%M %Z"),
        model=runs.model_name(model),
        summary=summary,
        counts=counts,
        totals=counts.sum(),
        drift=_drift(folder, summary.drift),
        cards=_cards(summary.queue, Explainer(model)),
        table=runs.INSPECTIONS,
    )  # fmt: skip
    with runs.atomic_write(folder / PAGE) as tmp:
        page.dump(str(tmp), encoding="utf-8")
    return folder / PAGE


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
        "figure": html.data_url("image/png", (folder / "figures" / "drift.png").read_bytes()),
    }


def _cards(queue: pd.DataFrame, explainer: Explainer) -> Iterator[str]:
    """Show the rows of a review queue; only a part of their images is in memory at once."""
    for start in range(0, len(queue), CHUNK_CARDS):
        rows = queue.iloc[start : start + CHUNK_CARDS].to_dict("records")
        entries = [_entry(row) for row in rows]
        explain(entries, explainer)
        for entry in entries:
            yield report.card(entry, report.TOP)


def _entry(row: dict[Any, Any]) -> Entry | Unreadable:
    """Return a row of the table with its image, as a session would hold it."""
    probabilities = {name[2:]: value for name, value in row.items() if name.startswith("p_")}
    members, reasons = (
        tuple(filter(None, row[name].split(SEPARATOR))) for name in ("prediction_set", "reasons")
    )
    try:
        gray = decode(Path(row["path"]).read_bytes(), row["path"])
    except (ImageError, OSError) as error:
        return Unreadable(row["path"], f"no longer readable: {error}")
    prediction = Prediction(probabilities, row["novelty"], members, reasons)
    return Entry(row["path"], gray, prediction, "{1} x {0} gray".format(*gray.shape))
