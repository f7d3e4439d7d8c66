"""Templates of `templates/`, which escape all that is put into them."""

import base64
from functools import cache
from typing import Any

import jinja2

from nbutils.data.labels import NO_DEFECT, NONE


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
