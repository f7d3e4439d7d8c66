"""What the demo shows as HTML: cards and tables.

All HTML is in `templates/`; what is put into it is escaped there.
"""

import io
from collections.abc import Iterable

import numpy as np
from matplotlib import colormaps
from PIL import Image

from nbutils.apps.html import data_url, render
from nbutils.apps.session import Entry, Session, Unreadable

THUMBNAIL = 180  # pixels, longer side
TOP, STRENGTH = 3, 0.7  # of the cards of an inspection


def message(text: str, kind: str = "quiet") -> str:
    """Show a sentence, of the kind `quiet` or `error`."""
    return render("message.html", text=text, kind=kind)


def card(
    entry: Entry | Unreadable, top: int, overlaid: bool = True, strength: float = STRENGTH
) -> str:
    """Show a file with its `top` most probable classes, or with its error.

    Where there is an activation map, it may lie over the image with a strength in [0, 1].
    """
    if isinstance(entry, Unreadable):
        return render("card.html", error=entry.error)
    pixels, shows = entry.gray, "image"
    if overlaid and entry.heatmap is not None:
        pixels, shows = overlay(entry.gray, entry.heatmap, strength), "with its activation map"
    return render("card.html", entry=entry, top=top, image=thumbnail(pixels), shows=shows)


def static_preview(session: Session, files: Iterable[tuple[str, bytes]], top: int) -> str:
    """Classify files, name and content each, into HTML that needs no kernel."""
    entries = [session.predict(name, data) for name, data in files]
    return render("preview.html", cards=[card(entry, top) for entry in entries])


def table(session: Session) -> str:
    """Show the table of a session, with a link that downloads all its columns as CSV."""
    rows = session.table().to_dict("records")
    download = data_url("text/csv", session.to_csv().encode())
    return render("table.html", rows=rows, download=download)


def overlay(gray: np.ndarray, heatmap: np.ndarray, strength: float) -> np.ndarray:
    """Lay an activation map over an image: uint8 (height, width, 3)."""
    evidence = Image.fromarray((255 * heatmap).astype(np.uint8)).resize(gray.shape[::-1])
    colors = colormaps["inferno"](np.asarray(evidence), bytes=True)[..., :3]
    layers = Image.fromarray(colors), Image.fromarray(gray).convert("RGB")
    return np.asarray(Image.composite(*layers, evidence.point(lambda value: strength * value)))


def thumbnail(pixels: np.ndarray) -> str:
    """Return a small copy of an image, uint8 gray or RGB, as a data URL."""
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "PNG")
    return data_url("image/png", file.getvalue())
