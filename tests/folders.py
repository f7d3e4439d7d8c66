"""Folders: of a few SYNTHETIC images, annotations and masks; of models that may be changed."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from nbutils import runs

BOX = (
    "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin>"
    "<xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def write(folder, *names):
    """Write images of noise, 60 x 40 pixels, no two alike."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = list(name.encode())
        gray = np.random.default_rng(seed).integers(0, 255, (40, 60), dtype=np.uint8)
        Image.fromarray(gray).save(path)
    return folder


def write_mask(path, *boxes, size=(60, 40), white=255, **options):
    """Write a mask with white boxes (xmin, ymin, xmax, ymax)."""
    values = np.zeros(size[::-1], np.uint8)
    for left, top, right, bottom in boxes:
        values[top:bottom, left:right] = white
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)


def write_text(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def copy_model(model, copy):
    """Copy a model's folder without its digests, so that its files can be changed."""
    folder = Path(shutil.copytree(model, copy))
    (folder / runs.DIGESTS).unlink()
    return folder


def voc(*boxes):
    return f"<annotation>{''.join(BOX.format(*box) for box in boxes)}</annotation>"


def coco(images, annotations, categories=("crack", "hole")):
    """`images`: names; `annotations`: (image number, category number, bbox)."""
    content = {
        "images": [{"id": n, "file_name": name} for n, name in enumerate(images)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "bbox": bbox}
            for n, (image, category, bbox) in enumerate(annotations)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(categories)],
    }
    return json.dumps(content)


def labels(layout):
    return {
        entry.path.relative_to(layout.folder).as_posix(): entry.label for entry in layout.entries
    }


def boxes(layout):
    return {entry.path.name: entry.boxes for entry in layout.entries}


def reason(layout, name):
    """The reason why the file of this name was ignored."""
    [found] = [text for path, text in layout.ignored.items() if path.endswith(name)]
    assert found.startswith(str(layout.folder))
    return found
