"""HTML: templates, which escape what is put into them, and images and maps as data URLs."""

import base64
import io
from functools import cache
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from nbutils.data.labels import NO_DEFECT, NONE

THUMBNAIL = 180  # pixels, longer side
MAX_SIDE = 65_500  # pixels, of a JPEG file
LOSSLESS = 400  # up to this longer side images are sent as they are
COLORS = (  # of a map from 0 to 1: matplotlib's inferno
    (0, 0, 4), (31, 12, 72), (87, 16, 110), (138, 34, 106), (188, 55, 84), (227, 89, 51),
    (249, 142, 9), (249, 203, 53), (252, 255, 164),
)  # fmt: skip
OPACITY = 0.8  # of a map where it is 1


@cache
def environment() -> jinja2.Environment:
    """Return the templates."""
    loader = jinja2.PackageLoader("nbutils.apps")
    templates = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters |= {
        "percent": "{:.1%}".format,
        "whole": "{:.0%}".format,
        "thousands": "{:,}".format,
        "words": in_words,
    }
    return templates


def in_words(label: str) -> str:
    """Return a label as a person says it; names of classes stay as they are."""
    return {NONE: "none of these", NO_DEFECT: "no defect"}.get(label, label)


def render(template: str, **values: Any) -> str:
    """Fill a template."""
    return environment().get_template(template).render(values)


def data_url(kind: str, content: bytes) -> str:
    """Return content as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def encode(gray: np.ndarray, longest: int | None = None) -> str:
    """Return an image, uint8 (height, width), shrunk to a longest side, as a data URL."""
    image = Image.fromarray(np.ascontiguousarray(gray))
    longest = min(longest or MAX_SIDE, MAX_SIDE)
    image.thumbnail((longest, longest))
    file = io.BytesIO()
    if max(image.size) <= LOSSLESS:
        image.save(file, "PNG")
        return data_url("image/png", file.getvalue())
    image.save(file, "JPEG", quality=90)
    return data_url("image/jpeg", file.getvalue())


def encode_map(defect_map: np.ndarray) -> str:
    """Return a map, (rows, columns, classes) in [0, 1], in colour, clear where it is 0."""
    strength = defect_map.max(axis=2).clip(0, 1)
    places = np.linspace(0, 1, len(COLORS))
    channels = [np.interp(strength, places, channel) for channel in zip(*COLORS, strict=True)]
    pixels = np.stack([*channels, 255 * OPACITY * strength], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return data_url("image/png", file.getvalue())


def legend() -> str:
    """Return the colours of a map from 0 to 1, as a CSS gradient."""
    stops = [f"rgb({red}, {green}, {blue})" for red, green, blue in COLORS]
    return f"linear-gradient(90deg, {', '.join(stops)})"
