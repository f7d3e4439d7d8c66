"""What came of a batch inspection, on one HTML page."""

import html
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import cards, drift, paths, plots, plots_drift
from nbutils.evidence import Evidence
from nbutils.images import ImageError, decode
from nbutils.inspection import FACTS, TABLE
from nbutils.predictor import Prediction
from nbutils.session import Entry

PAGE = "inspection.html"
WORDS = ["path", "sha256", "label", "verdict", "reasons", "candidates", "error", "notice"]
ROWS = 5000  # of the table that are held at once
AT_ONCE = 64  # images to review that are held at once
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Inspection</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<style>body {font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 24px auto;
padding: 0 16px} td, th {padding: 3px 12px; text-align: right} th:first-child {text-align: left}
table {border-collapse: collapse} tr {border-bottom: 1px solid #8885} img.figure {max-width: 100%}
.card {padding: 10px 0; border-bottom: 1px solid #8885} .drift {font-weight: 600}</style>"""


@dataclass
class Summary:
    """An inspection in a few numbers, and the first rows of its review queue."""

    counts: pd.DataFrame = field(default_factory=pd.DataFrame)  # class x verdict
    queue: list[dict] = field(default_factory=list)
    errors: list[dict] = field(default_factory=list)
    broken: int = 0
    drift: pd.DataFrame | None = None


def tables(run: Path) -> Iterator[pd.DataFrame]:
    """Read `inspections.csv` of a run in parts; numbers that an error leaves out are NaN."""
    file = paths.require(run / TABLE, "08_batch_inspection")
    for table in pd.read_csv(file, dtype=str, keep_default_na=False, chunksize=ROWS):
        numbers = table.columns.difference(WORDS)
        table[numbers] = table[numbers].apply(pd.to_numeric, errors="coerce")
        yield table


def summarize(run: Path, shown: int) -> Summary:
    """Sum up an inspection, with at most so many rows of its review queue and of its errors."""
    found = Summary()
    usual = drift.load(Path(paths.read_json(run / FACTS, "08_batch_inspection")["model"]))

    def seen() -> Iterator[pd.DataFrame]:
        for table in tables(run):
            broken = table["error"] != ""
            found.broken += int(broken.sum())
            found.errors += _first(table[broken], shown - len(found.errors))
            good = table[~broken]
            counts = pd.crosstab(good["label"], good["verdict"])
            found.counts = found.counts.add(counts, fill_value=0)
            review = good[good["verdict"] == "review"]
            found.queue += _first(review, shown - len(found.queue))
            yield good

    if usual:
        found.drift = drift.test(seen(), usual)
    else:
        for _ in seen():
            pass
    found.counts = found.counts.reindex(columns=["accept", "review"]).fillna(0).astype(int)
    return found


def write(run: Path, found: Summary) -> Path:
    """Write `inspection.html` and `figures/drift.png` of a summary; return the page."""
    facts = paths.read_json(run / FACTS, "08_batch_inspection")
    parts = [HEAD, cards.STYLE, _title(facts), _counts(found)]
    if found.drift is not None:
        (run / "figures").mkdir(exist_ok=True)
        plots.save(plots_drift.drift(found.drift), run, "drift")
        kind = "drift" if found.drift.attrs["drifted"] else ""
        parts.append(f'<h2>Drift</h2><p class="{kind}">{drift.words(found.drift)}</p>')
        parts.append('<img class="figure" src="figures/drift.png" alt="shift of each descriptor">')
    parts += [_queue(found, Evidence(facts["model"])), _errors(found)]
    with paths.replacing(run / PAGE) as beside:
        beside.write_text("\n".join(parts), encoding="utf-8")
    return run / PAGE


def _first(rows: pd.DataFrame, count: int) -> list[dict]:
    return rows.head(max(count, 0)).to_dict("records")


def _title(facts: dict) -> str:
    rate = f"{facts['images']:,} images in {facts['seconds']:,.1f} s, " \
           f"{facts['images'] / max(facts['seconds'], 1e-9):,.0f} a second" \
           if facts.get("seconds") else ""  # fmt: skip
    notice = f"<p><b>{html.escape(facts['notice'])}</b></p>" if "notice" in facts else ""
    return (
        f"<h1>Inspection of {html.escape(facts['source'])}</h1>{notice}"
        f"<p>Model {html.escape(Path(facts['model']).name)} ({facts['backend']}). {rate}. "
        f'All rows: <a href="{TABLE}">{TABLE}</a>.</p>'
    )


def _counts(found: Summary) -> str:
    table = found.counts.assign(images=found.counts.sum(axis=1))
    table.loc["all"] = table.sum()
    broken = f"<p>{found.broken} files could not be read.</p>" if found.broken else ""
    return f"<h2>Classes and verdicts</h2>{table.to_html(border=0)}{broken}"


def _queue(found: Summary, evidence: Evidence) -> str:
    waiting = int(found.counts["review"].sum())
    starts = range(0, len(found.queue), AT_ONCE)
    shown = [_cards(found.queue[at : at + AT_ONCE], evidence) for at in starts]
    rest = waiting - len(found.queue)
    more = f'<p>{rest} more are in <a href="{TABLE}">{TABLE}</a>.</p>' if rest > 0 else ""
    return f"<h2>Review queue ({waiting})</h2>{''.join(shown)}{more}"


def _cards(rows: list[dict], evidence: Evidence) -> str:
    entries = [_entry(row) for row in rows]
    good = [entry for entry in entries if not entry.error]
    grays, labels = [entry.gray for entry in good], [entry.prediction.label for entry in good]
    heats = iter(evidence.heats(grays, labels) if good else ())
    return "".join(f'<div class="card">{_card(entry, heats)}</div>' for entry in entries)


def _entry(row: dict) -> Entry:
    """Return a row of the table with its image, as a session would hold it."""
    chances = {key[2:]: row[key] for key in row if key.startswith("p_")}
    candidates, reasons = tuple(row["candidates"].split(";")), tuple(row["reasons"].split("; "))
    entry = Entry(row["path"], prediction=Prediction(chances, row["novelty"], candidates, reasons))
    try:
        entry.gray = decode(Path(row["path"]).read_bytes(), row["path"])
    except (ImageError, OSError) as error:
        entry.error = f"no longer readable: {error}"
    return entry


def _card(entry: Entry, heats: Iterator[np.ndarray]) -> str:
    if entry.error:
        return cards.card(entry, "", 3, None, 0)
    height, width = entry.gray.shape
    return cards.card(entry, f"{width} x {height} gray", 3, next(heats), 0.7)


def _errors(found: Summary) -> str:
    if not found.errors:
        return ""
    lines = "".join(f"<li>{html.escape(row['error'])}</li>" for row in found.errors)
    rest = found.broken - len(found.errors)
    more = f'<p>{rest} more are in <a href="{TABLE}">{TABLE}</a>.</p>' if rest > 0 else ""
    return f"<h2>Files that could not be read</h2><ul>{lines}</ul>{more}"
