"""The upload demo's widgets."""

import base64
import html
import io
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
from PIL import Image

from nbutils import synthetic
from nbutils.images import SUFFIXES, ImageError, decode
from nbutils.predictor import Prediction, Predictor

File = tuple[str, bytes]  # name and content
STYLE = """<style>
.card {display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; padding: 10px 0;
  border-bottom: 1px solid #8886; font-size: 14px; line-height: 1.4}
.card img {width: 128px; height: 128px; object-fit: contain; background: #8882}
.card .facts {min-width: 280px; flex: 1}
.card .row {display: grid; grid-template-columns: 120px 1fr 60px; gap: 8px; align-items: center}
.card .bar {height: 12px; background: #8883}
.card .bar div {height: 100%; background: #0173b2}
.card .value {text-align: right; font-variant-numeric: tabular-nums}
.card .error {color: #d55e00; font-weight: 600}
</style>"""


def samples(seed: int) -> list[File]:
    """Draw one SYNTHETIC image of each NEU-DET class, as PNG files."""
    files = []
    for at, label in enumerate(synthetic.DRAWERS):
        gray, _ = synthetic.draw(label, np.random.default_rng((seed, at)))
        files.append((f"SYNTHETIC {label}.png", _png(gray)))
    return files


def panel(predictor: Predictor, top: int) -> widgets.VBox:
    """Build the upload button with the cards of what was uploaded below it."""
    upload = widgets.FileUpload(
        accept=",".join(SUFFIXES), multiple=True, description="Upload images"
    )
    results = widgets.HTML()

    def show(change) -> None:
        files = [(file.name, bytes(file.content)) for file in change.new]
        results.value = cards(predictor, files, top)

    upload.observe(show, names="value")
    return widgets.VBox([upload, results])


def cards(predictor: Predictor, files: Sequence[File], top: int) -> str:
    """Classify files into HTML, a card for each; an unreadable file gets its error as its card."""
    return STYLE + "".join(_card(predictor, name, data, top) for name, data in files)


def _card(predictor: Predictor, name: str, data: bytes, top: int) -> str:
    try:
        prediction = predictor.predict([data], [name])[0]
        picture = base64.b64encode(_png(decode(data, name))).decode()
    except ImageError as error:
        return f'<div class="card"><div class="error">{html.escape(str(error))}</div></div>'
    title = html.escape(name)
    return (
        f'<div class="card"><img src="data:image/png;base64,{picture}" alt="{title}">'
        f'<div class="facts"><div>{title}</div>{_chart(prediction, top)}</div></div>'
    )


def _chart(prediction: Prediction, top: int) -> str:
    head = f"<b>{html.escape(prediction.label)}</b>, confidence {prediction.confidence:.1%}"
    rows = (
        f'<div class="row"><span>{html.escape(label)}</span>'
        f'<div class="bar"><div style="width: {chance:.1%}"></div></div>'
        f'<span class="value">{chance:.1%}</span></div>'
        for label, chance in prediction.top(top)
    )
    return f"<div>{head}</div>{''.join(rows)}"


def _png(gray: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(gray).save(file, "PNG")
    return file.getvalue()
