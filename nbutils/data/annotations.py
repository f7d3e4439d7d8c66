"""Annotations of images: Pascal VOC, COCO, YOLO and tables, read into one form.

The standard library reads all four in a few lines each, and a library of detection formats would
bring OpenCV or Matplotlib into the command line.
"""

import csv
import io
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

from nbutils.data.files import ImageIndex, csv_separator, read_bytes, read_text
from nbutils.data.images import image_size
from nbutils.data.regions import UNNAMED, Edges, Region, Regions, Report, clip_to_images
from nbutils.disk import UserError

EDGES = ("xmin", "ymin", "xmax", "ymax")
CLASS_LISTS = ("classes.txt", "obj.names", "_darknet.labels")
UNKNOWN = (math.nan,) * 4  # edges that cannot be read
MAX_YAML = 2**17  # characters of a data.yaml, which take a second to read
UNREADABLE = (ValueError, LookupError, OSError, OverflowError, RecursionError, ET.ParseError)


def read_annotations(files: list[Path], index: ImageIndex, report: Report) -> dict[str, Regions]:
    """Read all annotations among files: voc, coco, yolo or csv -> their regions.

    Boxes are in pixels, within their image, and not empty; what had to be clipped or left out is
    entered into `report`.
    """
    readers: dict[str, Callable[[list[Path], ImageIndex, Report], Regions]] = {
        "voc": _read_voc,
        "coco": _read_coco,
        "yolo": _read_yolo,
        "csv": _read_csv,
    }
    return {
        kind: clip_to_images(reader(files, index, report), report)
        for kind, reader in readers.items()
    }


def _owner(file: Path, index: ImageIndex, known: Regions, report: Report) -> Path | None:
    """Return the image of an annotation file; None, and why in `report`, if it is not one.

    Nor does it have one that is `known` by another file.
    """
    owners = index.owners(file, file.stem)
    if len(owners) != 1:
        what = f"{len(owners)} images" if owners else "no image here"
        report.ignore(file, f"has boxes for {what}: remove it, or put it beside its image")
    elif owners[0] in known:
        report.ignore(file, "is a second file of its image: keep one of them")
    else:
        return owners[0]
    return None


def _with_suffix(files: list[Path], *suffixes: str) -> list[Path]:
    return [file for file in files if file.suffix.lower() in suffixes]


def _read_voc(files: list[Path], index: ImageIndex, report: Report) -> Regions:
    regions: Regions = {}
    for file in _with_suffix(files, ".xml"):
        image = _owner(file, index, regions, report)
        if image is None:
            continue
        try:
            root = _parse_xml(file)
        except UNREADABLE as error:
            report.ignore(file, f"is no Pascal VOC file ({error}): save it again")
            continue
        if root.tag != "annotation":
            report.ignore(file, f"is no Pascal VOC file, but one of <{root.tag}>: save it as one")
            continue
        regions[image] = [Region(*_voc_object(node), file) for node in root.iter("object")]
    return regions


def _parse_xml(file: Path) -> ET.Element:
    """Parse a file, also where its encoding is not the declared one."""
    try:
        return ET.fromstring(read_bytes(file))
    except (ET.ParseError, LookupError, ValueError):
        return ET.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", read_text(file)))


def _voc_object(node: ET.Element) -> tuple[str, Edges]:
    left, top, right, bottom = (
        _whole(node.findtext(f"bndbox/{edge}", ""))  # as pixels, whatever the tool wrote
        for edge in EDGES
    )
    return node.findtext("name", ""), (left, top, right, bottom)


def _whole(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return math.trunc(value) if math.isfinite(value) else value


def _read_coco(files: list[Path], index: ImageIndex, report: Report) -> Regions:
    regions: Regions = {}
    for file in _with_suffix(files, ".json"):
        try:
            content = json.loads(read_text(file))
            if isinstance(content, dict) and "shapes" in content:
                report.ignore(file, "is a file of LabelMe, which is not read: export COCO or VOC")
            elif isinstance(content, dict) and {"images", "annotations"} & set(content):
                for image, listed in _coco_regions(content, file, index, report).items():
                    regions.setdefault(image, []).extend(listed)
        except (*UNREADABLE, TypeError, AttributeError) as error:
            report.ignore(file, f"is no COCO file ({_brief(error)}): save it again")
    return regions


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:80]}"


def _coco_regions(content: dict, file: Path, index: ImageIndex, report: Report) -> Regions:
    named = {(category["id"], str(category["name"])) for category in content["categories"]}
    names = dict(named)
    if len(names) < len(named):
        raise ValueError("several classes have one id")
    files = {(image["id"], str(image["file_name"])) for image in content["images"]}
    listed = dict(files)
    if len(listed) < len(files):
        raise ValueError("several images have one id")
    paths = _resolve(set(listed.values()), file, index, report)
    regions: Regions = {image: [] for image in paths.values()}
    n_unknown = 0
    for annotation in content["annotations"]:
        name, label = listed.get(annotation["image_id"]), names.get(annotation["category_id"])
        if name is None or label is None:
            n_unknown += 1
        elif name in paths:
            edges = _coco_edges(annotation)
            regions[paths[name]].append(Region(label, edges, file))
    if n_unknown:
        report.ignore(file, f"has {n_unknown} boxes of unknown images or classes: correct it")
    return regions


def _coco_edges(annotation: dict) -> Edges | None:
    """Return the edges of a box (xmin, ymin, width, height), else those around its polygons.

    None for an annotation without any.
    """
    bbox, polygons = annotation.get("bbox"), annotation.get("segmentation")
    try:
        if bbox is not None:
            left, top, width, height = map(float, bbox)
            return left, top, left + width, top + height
        if not polygons or not isinstance(polygons, list):  # or run lengths
            return None
        x = [float(value) for polygon in polygons for value in polygon[::2]]
        y = [float(value) for polygon in polygons for value in polygon[1::2]]
        return min(x), min(y), max(x), max(y)
    except (TypeError, ValueError, OverflowError):
        return UNKNOWN


def _resolve(
    names: Iterable[str], source: Path, index: ImageIndex, report: Report
) -> dict[str, Path]:
    """Find the images that a file names; those that are not one image are reported."""
    owners = {name: index.named(name, source) for name in names}
    lost = [name for name, matches in owners.items() if len(matches) != 1]
    if lost:
        report.ignore(
            source,
            f"names {len(lost)} files that are not one image here (the first: {lost[0]!r}): "
            "correct it, or copy them",
        )
    return {name: matches[0] for name, matches in owners.items() if len(matches) == 1}


def _read_yolo(files: list[Path], index: ImageIndex, report: Report) -> Regions:
    """Read a text file for each image; nothing where none of them has the form."""
    parsed: dict[Path, list[tuple[int, list[float]]]] = {}
    other: dict[Path, str] = {}
    for file in _with_suffix(files, ".txt"):
        if file.name in CLASS_LISTS or not (index.by_stem.get(file.stem) or _in_labels(file)):
            continue
        try:
            parsed[file] = [
                _yolo_line(line) for line in read_text(file).splitlines() if line.strip()
            ]
        except UNREADABLE as error:
            other[file] = str(error)
    for file, reason in other.items():
        report.ignore(file, f"is no YOLO file ({reason}): save it again, or remove it")
    if not any(parsed.values()):
        return {}
    names = _class_names(files, report)
    regions: Regions = {}
    for file, lines in parsed.items():
        image = _owner(file, index, regions, report)
        size = image_size(image) if image else None
        if image and size:
            regions[image] = [_yolo_region(line, size, names, file, report) for line in lines]
    return regions


def _in_labels(file: Path) -> bool:
    return file.parent.name.lower() == "labels"


def _yolo_line(line: str) -> tuple[int, list[float]]:
    number, *values = line.split()
    if len(values) not in (4, 5) and (len(values) < 6 or len(values) % 2):
        raise ValueError(f"the line {line[:40]!r} has {len(values) + 1} values")
    return int(number), [float(value) for value in values]


def _yolo_region(
    line: tuple[int, list[float]],
    size: tuple[int, int],
    names: dict[int, str],
    file: Path,
    report: Report,
) -> Region:
    """Turn a line into a region: centre and size (a confidence is dropped), or a polygon."""
    number, values = line
    width, height = size
    if len(values) < 6:
        x, y, w, h = values[:4]
        left, top, right, bottom = x - w / 2, y - h / 2, x + w / 2, y + h / 2
    else:
        left, right = min(values[::2]), max(values[::2])
        top, bottom = min(values[1::2]), max(values[1::2])
    if number < 0 or (names and number not in names):
        report.count_box(UNNAMED, file)
        return Region("", None, file)
    edges = left * width, top * height, right * width, bottom * height
    return Region(names.get(number, str(number)), edges, file)


def _class_names(files: list[Path], report: Report) -> dict[int, str]:
    """Read the names of YOLO's classes; UserError where two files differ."""
    lists = {}
    for file in files:
        if file.name not in CLASS_LISTS and file.suffix.lower() not in (".yaml", ".yml"):
            continue
        try:
            text = read_text(file)
            if file.name in CLASS_LISTS:
                lines = enumerate(text.splitlines())
                lists[file] = {n: line.strip() for n, line in lines if line.strip()}
            else:
                lists[file] = _yaml_names(text)
        except (yaml.YAMLError, *UNREADABLE) as error:
            report.ignore(file, f"cannot be read ({' '.join(str(error).split())}): correct it")
    lists = {file: names for file, names in lists.items() if names}
    if not lists:
        report.notes.append("no data.yaml or classes.txt names the classes: they are numbers")
        return {}
    (first, names), *others = lists.items()
    for file, rest in others:
        if rest != names:
            raise UserError(f"{first} and {file} name different classes: keep one of them")
    return names


def _yaml_names(text: str) -> dict[int, str]:
    """Read `names` of a data.yaml: a list, or a mapping from numbers; all else is text."""
    if len(text) > MAX_YAML:
        raise ValueError(f"over {MAX_YAML} characters")
    content = yaml.load(text, Loader=yaml.BaseLoader)  # no objects
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        return {int(number): str(name).strip() for number, name in names.items()}
    return dict(enumerate(str(name).strip() for name in names)) if isinstance(names, list) else {}


def _read_csv(files: list[Path], index: ImageIndex, report: Report) -> Regions:
    regions: Regions = {}
    for file in _with_suffix(files, ".csv"):
        try:
            rows = _table(read_text(file))
            if not rows or not {"path", "label"} <= set(rows[0]):
                report.ignore(file, "has no columns path and label: name them if it is of images")
                continue
            paths = _resolve({row["path"] for row in rows if row["path"]}, file, index, report)
            for row in rows:
                if row["path"] in paths and row["label"]:
                    region = Region(row["label"], _csv_edges(row), file)
                    regions.setdefault(paths[row["path"]], []).append(region)
            n_blank = sum(not row["path"] or not row["label"] for row in rows)
            if n_blank:
                report.ignore(file, f"has {n_blank} rows without path or label: fill them in")
        except (csv.Error, *UNREADABLE) as error:
            report.ignore(file, f"is no table of images ({error}): correct it")
    return regions


def _table(text: str) -> list[dict[str, str]]:
    """Read a table with columns in lower case; its separator is a comma, semicolon or tab."""
    header = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=csv_separator(header))
    columns = [column.strip().lower() for column in next(rows, [])]
    blank = dict.fromkeys(columns, "")
    return [
        blank | dict(zip(columns, (cell.strip() for cell in row), strict=False))
        for row in rows
        if row
    ]


def _csv_edges(row: dict[str, str]) -> Edges | None:
    """Return the edges of a row; None if all are blank, not finite if some cannot be read."""
    cells = [row.get(edge, "") for edge in EDGES]
    if not any(cells):
        return None
    try:
        left, top, right, bottom = map(float, cells)
    except ValueError:
        return UNKNOWN
    return left, top, right, bottom
