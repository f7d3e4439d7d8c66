"""The demo's HTML: a card for each image, the table of a session, and its style."""

import base64
import html
import io
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from nbutils.predictor import Prediction
from nbutils.session import Entry, Session

THUMBNAIL = 180  # pixels, longer side
SIGNS = {"accept": "✓ accept", "review": "⚠ review"}  # colour is never the only sign
STYLE = """<style>
.inspect {color: var(--jp-ui-font-color1, CanvasText); font: 14px/1.45 system-ui, sans-serif}
.inspect .body {display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: flex-start}
.inspect figure {margin: 0; width: 180px}
.inspect img {width: 180px; height: 180px; object-fit: contain; background: #8882; display: block}
.inspect figcaption, .inspect .quiet {font-size: 12px; opacity: .75; overflow-wrap: anywhere}
.inspect .facts {flex: 1; min-width: 250px}
.inspect h4 {margin: 0 0 2px; font-size: 15px; overflow-wrap: anywhere}
.inspect .row {display: grid; grid-template-columns: 118px 1fr 58px; gap: 8px; align-items: center}
.inspect .bar {height: 11px; background: #8883}
.inspect .bar div {height: 100%; background: #0173b2}
.inspect .value {text-align: right; font-variant-numeric: tabular-nums}
.inspect .sign {display: inline-block; padding: 0 8px; border: 1px solid; border-radius: 3px;
  font-weight: 600; margin-right: 8px}
.inspect .accept {border-color: #0173b2}
.inspect .review {border-color: #d55e00; background: #d55e0022}
.inspect .error {border-left: 4px solid #d55e00; padding: 4px 10px; font-weight: 600}
.inspect table {border-collapse: collapse; width: 100%; font-size: 13px}
.inspect th, .inspect td {text-align: left; padding: 2px 8px; border-bottom: 1px solid #8885}
.inspect .scroll {overflow-x: auto}
.inspect a.button {display: inline-block; padding: 4px 12px; border: 1px solid; border-radius: 3px;
  color: inherit}
</style>"""


def card(entry: Entry, prepared: str, top: int, heat: np.ndarray | None, strength: float) -> str:
    """Show a file with its answer, or with its error.

    Parameters
    ----------
    entry
        Of the session.
    prepared
        What was done to the image.
    top
        Classes to chart.
    heat
        Activation map in [0, 1], (side, side); None to show the image alone.
    strength
        Of the map over the image, in [0, 1].
    """
    if entry.error:
        return f'<div class="inspect"><div class="error">✕ {html.escape(entry.error)}</div></div>'
    name = html.escape(entry.name)
    shown = entry.gray if heat is None else overlay(entry.gray, heat, strength)
    words = "image" if heat is None else "where the evidence is, over the image"
    return f"""<div class="inspect"><div class="body">
<figure><img src="{picture(shown)}" alt="{name}, {words}">
<figcaption>{prepared}</figcaption></figure>
<div class="facts"><h4>{name}</h4>{_verdict(entry.prediction)}{_chart(entry.prediction, top)}</div>
</div></div>"""


def still(session: Session, files: Iterable[tuple[str, bytes]], top: int) -> str:
    """Classify files into HTML that needs no kernel."""
    entries = [session.judge(name, data) for name, data in files]
    shown = [card(entry, session.prepared(entry), top, None, 0) for entry in entries]
    return STYLE + "<br>".join(shown)


def table(rows: pd.DataFrame) -> str:
    """Show the table of a session, with a link that downloads all of it as CSV."""
    if rows.empty:
        return '<div class="inspect quiet">No image yet.</div>'
    shown = rows[["number", "file", "label", "confidence", "verdict", "novelty", "corrected"]]
    body = shown.to_html(
        index=False, border=0, na_rep="", justify="left",
        formatters={"confidence": "{:.1%}".format, "novelty": "{:.2f}".format},
    )  # fmt: skip
    data = base64.b64encode(rows.to_csv(index=False).encode()).decode()
    return (
        f'<div class="inspect"><div class="scroll">{body}</div><p><a class="button" '
        f'download="session.csv" href="data:text/csv;base64,{data}">Download as CSV</a></p></div>'
    )


def overlay(gray: np.ndarray, heat: np.ndarray, strength: float) -> np.ndarray:
    """Lay an activation map over an image: uint8 (height, width, 3)."""
    height, width = gray.shape
    large = Image.fromarray(np.uint8(255 * heat)).resize((width, height))
    colours = 255 * colormaps["inferno"](np.asarray(large) / 255)[..., :3]
    share = strength * np.asarray(large)[..., np.newaxis] / 255
    return np.uint8(gray[..., np.newaxis] * (1 - share) + colours * share)


def picture(pixels: np.ndarray) -> str:
    """Return a thumbnail of an image as a data URL."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _verdict(prediction: Prediction) -> str:
    reasons = "".join(f"<div>{html.escape(reason)}</div>" for reason in prediction.reasons)
    others = [label for label in prediction.candidates if label != prediction.label]
    if others:
        reasons += f"<div>could also be {html.escape(', '.join(others))}</div>"
    return (
        f'<div><span class="sign {prediction.verdict}">{SIGNS[prediction.verdict]}</span>'
        f"<b>{html.escape(prediction.label)}</b>, confidence {prediction.confidence:.1%}, "
        f'novelty {prediction.novelty:.2f}</div><div class="quiet">{reasons}</div>'
    )


def _chart(prediction: Prediction, top: int) -> str:
    return "".join(
        f'<div class="row"><span>{html.escape(label)}</span>'
        f'<div class="bar"><div style="width: {chance:.1%}"></div></div>'
        f'<span class="value">{chance:.1%}</span></div>'
        for label, chance in prediction.top(top)
    )
