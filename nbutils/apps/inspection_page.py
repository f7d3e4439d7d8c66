"""The page of a batch inspection: one file that can be mailed."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nbutils import disk, runs
from nbutils.apps import html
from nbutils.apps.inspection import Row, Summary, shares
from nbutils.data import image_list
from nbutils.data.images import ImageError, decode, read_file
from nbutils.data.labels import NO_DEFECT
from nbutils.inference import resumption
from nbutils.inference.answers import count_defects
from nbutils.inference.prediction import SEPARATOR, Prediction
from nbutils.inference.predictor import Predictor, load_predictor

PAGE = "inspection.html"
SIDE, WIDE = 320, 1000  # pixels, longer side of an image on the page; of a strip
STRIP = 2.0  # width over height from which on an image is one
BESIDE = 200  # pixels, width of an image beside its facts
MAX_BYTES = 16_000  # of an image on the page
QUALITIES = (85, 70, 55, 40, 25, 10)  # of JPEG, the first that fits
TOP, SMALL = 3, 0.01  # classes whose probabilities are shown; the others from so much on
MAX_BOXES = 50  # drawn on an image


def write(folder: Path, summary: Summary) -> Path:
    """Write `inspection.html`, which holds all that it shows, and return it.

    Images of the review queue are predicted again, one by one, for their map and boxes.
    """
    facts = runs.read_json(folder / runs.INSPECTION)
    model = Path(facts["model"])
    inspected = datetime.fromtimestamp((folder / runs.INSPECTIONS).stat().st_mtime).astimezone()
    bits = facts.get("read_as_bits") or facts.get("bit_depth")
    headline, *findings = summary.findings()
    page = html.environment().get_template(PAGE).stream(
        facts=facts,
        date=inspected.strftime("%Y-%m-%d %H:%M %Z"),
        model=runs.model_name(model),
        summary=summary,
        headline=headline,
        findings=findings,
        classes=list(shares(summary.counts)),
        changes=_changes(summary),
        cards=_cards(_placed(summary.queue, folder), _predictor(facts), bits),
        colors=html.legend(),
        table=runs.INSPECTIONS,
    )  # fmt: skip
    with disk.atomic_write(folder / PAGE) as tmp:
        page.dump(str(tmp), encoding="utf-8", errors="replace")
    return folder / PAGE


def _predictor(facts: dict[str, Any]) -> Predictor | None:
    """Return what draws maps without Keras, where the model of an inspection has it."""
    model, scale = Path(facts["model"]), facts.get("scale", 1.0)
    return load_predictor(model, "litert", scale) if (model / runs.LITERT_MODEL).exists() else None


def _changes(summary: Summary) -> dict[str, Any] | None:
    """Return the bars of the drift test, in per cent of the figure's half width."""
    if summary.drift is None or summary.drift.drifted is None:
        return None
    limit, changes = summary.drift.limit, summary.drift.changes()
    reach = 1.1 * max(limit, *map(abs, changes.values()))
    bars = [
        {"name": name, "times": times, "width": 100 * abs(times) / reach, "high": times > 0,
         "beyond": abs(times) > limit}
        for name, times in sorted(changes.items(), key=lambda item: -abs(item[1]))
    ]  # fmt: skip
    return {"bars": bars, "limit": limit, "at": 100 * limit / reach}


def _placed(queue: Sequence[Row], folder: Path) -> Iterator[tuple[Row, str]]:
    """Give rows with the paths of their images, some of which the table cannot hold as they are."""
    paths = {row["path"]: row["path"] for row in queue}
    odd, listed = {path for path in paths if not Path(path).exists()}, folder / runs.IMAGE_LIST
    if odd and listed.exists():
        known = ((resumption.cell(path), path) for path in image_list.read_list(listed, 0))
        paths |= {shown: path for shown, path in known if shown in odd}
    return ((row, paths[row["path"]]) for row in queue)


def _cards(
    queue: Iterable[tuple[Row, str]], predictor: Predictor | None, bits: int | None
) -> Iterator[dict[str, Any]]:
    """Give what the page shows of each row; one image is in memory at a time."""
    for row, path in queue:
        try:
            data = read_file(path)
            if hashlib.sha256(data).hexdigest() != row["sha256"]:
                yield _facts(row, path) | {"error": "has changed since it was inspected"}
                continue
            gray = decode(data, path, bits)
        except ImageError as error:
            yield _facts(row, path) | {"error": f"no longer readable: {error}"}
            continue
        prediction = predictor.predict_image(gray) if predictor else None
        if prediction and prediction.defect_map is None and not prediction.defects:
            predictor = None  # of a model that says nothing of where
        yield _facts(row, path) | _picture(gray, prediction)


def _facts(row: Row, path: str) -> dict[str, Any]:
    """Return a row in the terms of the page, with a link to the image's path."""
    probabilities = {name[2:]: value for name, value in row.items() if name.startswith("p_")}
    first, *others = sorted(probabilities.items(), key=lambda item: -item[1])
    named = Path(row["path"]).absolute()
    return {
        **row,
        "name": named.name,
        "folder": str(named.parent),
        "link": Path(path).absolute().as_uri(),
        "why": [reason for reason in row["reasons"].split(SEPARATOR) if reason],
        "top": [first, *(pair for pair in others[: TOP - 1] if pair[1] >= SMALL)]
        if row["predicted"] != NO_DEFECT
        else [(NO_DEFECT, row["confidence"])],
    }


def _picture(gray: np.ndarray, prediction: Prediction | None) -> dict[str, Any]:
    """Return an image with its map, and its boxes in per cent of its sides."""
    height, width = gray.shape
    is_strip = width > STRIP * height
    found = prediction.defects if prediction else ()
    counted = count_defects(prediction) if prediction else ""
    defect_map = prediction.defect_map if prediction else None
    return {
        "width": width,
        "height": height,
        "is_strip": is_strip,
        "wide": 2 * width if is_strip else min(BESIDE, 2 * BESIDE * width / height),  # pixels
        "image": html.data_url("image/jpeg", _jpeg(gray, WIDE if is_strip else SIDE)),
        "map": html.encode_map(defect_map) if defect_map is not None else "",
        "defects_by_class": counted
        + (f", the surest {MAX_BOXES} drawn" if len(found) > MAX_BOXES else ""),
        "boxes": [
            {
                "title": f"{defect.label} {defect.confidence:.0%}",
                "left": 100 * defect.xmin / width,
                "top": 100 * defect.ymin / height,
                "width": 100 * (defect.xmax - defect.xmin) / width,
                "height": 100 * (defect.ymax - defect.ymin) / height,
            }
            for defect in found[:MAX_BOXES]
        ],
    }


def _jpeg(gray: np.ndarray, longest: int) -> bytes:
    """Return a small copy of an image, of at most about `MAX_BYTES`."""
    image = Image.fromarray(np.ascontiguousarray(gray))
    image.thumbnail((longest, longest))
    for quality in QUALITIES:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= MAX_BYTES:
            break
    return file.getvalue()
