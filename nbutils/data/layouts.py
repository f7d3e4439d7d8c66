"""Layouts of image folders: which files are images, and what says their class and boxes."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from nbutils.data import annotations, files, masks
from nbutils.data.images import ImageError
from nbutils.data.labels import LAYOUTS, RESERVED, LabelSources, clean, normalize
from nbutils.data.regions import Box, Regions, Report, list_files
from nbutils.disk import UserError, printable

NORMAL = ("free", "good", "ok", "normal", "no_defect", "defect_free")


@dataclass(frozen=True)
class Entry:
    """An image with its class, its boxes and its mask."""

    path: Path
    label: str
    boxes: list[Box]
    mask: Path | None = None


@dataclass(frozen=True)
class Layout:
    """What was understood of a folder of images."""

    folder: Path
    kind: str  # one of LAYOUTS
    entries: list[Entry]
    ignored: dict[str, str] = field(default_factory=dict)  # file -> reason
    notes: list[str] = field(default_factory=list)  # what was changed to understand it
    boxes: dict[str, dict[str, int]] = field(default_factory=dict)  # what was done -> file -> count
    normal_classes: tuple[str, ...] = ()  # classes of images without a defect

    def describe(self) -> str:
        """Draw what was understood as a small tree: classes, and ignored files by reason."""
        counts = Counter(entry.label for entry in self.entries)
        width = max((len(label) for label in counts), default=0)
        lines = [self._class_line(label, width) for label in sorted(counts)]
        reasons: dict[str, list[str]] = {}
        for path, reason in self.ignored.items():
            same = printable(reason).removeprefix(printable(path)).strip()
            reasons.setdefault(same, []).append(path)
        for reason, paths in reasons.items():
            lines.append(f"ignored ({len(paths)}): {list_files(paths)}: {reason}")
        lines += [f"note: {note}" for note in self.notes]
        head = f"{self.folder.name}: {len(self.entries)} images of {len(counts)} classes"
        branches = [f"├── {line}" for line in lines[:-1]] + [f"└── {line}" for line in lines[-1:]]
        return printable("\n".join([f"{head}, by {LAYOUTS[self.kind]}", *branches]))

    def _class_line(self, label: str, width: int) -> str:
        entries = [entry for entry in self.entries if entry.label == label]
        boxes = sum(len(entry.boxes) for entry in entries)
        boxed = sum(bool(entry.boxes) for entry in entries)
        masked = sum(entry.mask is not None for entry in entries)
        line = f"{label:<{width}} {len(entries):>6} images"
        line += f", {boxes} boxes in {boxed} of them" if boxes else ", no boxes"
        line += f", {masked} masks" if masked else ""
        return line + (", without a defect" if label in self.normal_classes else "")


def read_layout(folder: str | Path, layout: str = "", normal_class: str = "") -> Layout:
    """Understand a folder of images: the class, boxes and mask of each.

    Parameters
    ----------
    folder
        All below it is read, linked folders too.
    layout
        What names the classes: one of `LAYOUTS`; empty to find out.
    normal_class
        The class of images without a defect, in addition to those of a name such as `good`.

    Raises
    ------
    UserError
        If the folder holds no images, can be read in two ways, or not in the given one.
    """
    if layout not in ("", *LAYOUTS):
        raise UserError(f"LAYOUT {layout!r} is unknown: choose one of {', '.join(LAYOUTS)}")
    folder, report = Path(folder).resolve(), Report()
    paths = files.scan(folder, report.ignored)
    for path in paths:
        if path.suffix.lower() in files.UNSUPPORTED:
            report.ignore(path, "is of a format that is not read: save it as PNG")
    candidates = [path for path in paths if files.is_image(path)]
    images, mask_of = masks.separate(folder, candidates, report.ignored)
    if not images:
        raise UserError(f"{folder} holds no images ({', '.join(files.SUFFIXES)}): name another")
    index = files.ImageIndex(folder, images)
    regions = annotations.read_annotations(paths, index, report)
    try:
        kind, labels = LabelSources(folder, images, regions).choose(layout)
    except UserError as error:
        raise UserError(f"{error}{left_out(report.ignored)}") from error
    labels = _complete(labels, kind, images, regions, normal_class, report)
    annotated = _without_generic_class(_first(regions, kind, labels), labels, report)
    spelling = _spelling(list(labels.values()), annotated, report)
    entries = [_entry(*item, annotated, mask_of, spelling, report) for item in labels.items()]
    normal = _normal_classes({entry.label for entry in entries}, normal_class)
    notes = [*report.notes, *report.describe_boxes()]
    return Layout(folder, kind, entries, report.ignored, notes, report.boxes, normal)


def left_out(ignored: dict[str, str]) -> str:
    """Say why the first of the files that were left out was: a cause may lie there."""
    return f" (left out: {len(ignored)}, such as {next(iter(ignored.values()))})" if ignored else ""


def _complete(
    labels: dict[Path, str],
    kind: str,
    images: list[Path],
    regions: dict[str, Regions],
    normal_class: str,
    report: Report,
) -> dict[Path, str]:
    """Return the class of each image in order; report those that have none.

    Images that annotations name without a box are of `normal_class`, where it is given.
    """
    complete = {}
    for image in images:
        listed = image in regions.get(kind, {})
        background = listed and not regions[kind][image]
        label = labels.get(image) or (normal_class if background else "")
        if clean(label):
            complete[image] = label
        else:
            report.ignore(image, _why_unlabelled(kind, listed))
    return complete


def _first(regions: dict[str, Regions], kind: str, images: Iterable[Path]) -> Regions:
    """Return what is annotated of each image by the files that give the classes, else by others."""
    order = sorted(regions, key=lambda name: name != kind)
    annotated = {}
    for image in images:
        with_boxes = (
            [region for region in regions[name].get(image, []) if region.edges] for name in order
        )
        annotated[image] = next(filter(None, with_boxes), [])
    return annotated


def _without_generic_class(annotated: Regions, labels: dict[Path, str], report: Report) -> Regions:
    """Drop the classes of boxes where no image has any (`defect`); say which are not used."""
    of_images = set(map(normalize, labels.values()))
    names = {region.label for regions in annotated.values() for region in regions}
    unused = sorted(name for name in names if normalize(name) not in of_images)
    called = ", ".join(map(repr, unused))
    if not unused:
        return annotated
    if len(unused) < len(names):
        report.notes.append(f"boxes called {called} are not used: no image is of that class")
        return annotated
    report.notes.append(f"all boxes are called {called}: each has the class of its image")
    return {
        image: [replace(region, label="") for region in regions]
        for image, regions in annotated.items()
    }


def _entry(
    image: Path,
    label: str,
    annotated: Regions,
    mask_of: dict[Path, Path],
    spelling: dict[str, str],
    report: Report,
) -> Entry:
    label, mask = spelling[normalize(label)], mask_of.get(image)
    boxes: list[Box] = []
    for region in annotated[image]:
        left, top, right, bottom = map(int, region.edges or ())
        name = spelling[normalize(region.label)] if region.label else label
        boxes.append((name, left, top, right, bottom))
    if mask:
        try:
            edges = masks.mask_boxes(mask, image)
            boxes = boxes or [(label, *box) for box in edges]
        except (ImageError, OSError) as error:
            report.ignored[str(mask)] = str(error)
            mask = None
    return Entry(image, label, boxes, mask)


def _spelling(labels: list[str], annotated: Regions, report: Report) -> dict[str, str]:
    """Choose one spelling for classes that differ in case or blanks alone: the most frequent."""
    names = Counter(labels)
    names.update(region.label for regions in annotated.values() for region in regions)
    spellings: dict[str, Counter[str]] = {}
    for name, number in names.items():
        spellings.setdefault(normalize(name), Counter())[clean(name)] += number
    chosen = {same: counts.most_common(1)[0][0] for same, counts in spellings.items()}
    for same, spelling in chosen.items():
        others = [name for name in names if normalize(name) == same and name != spelling]
        if len(others) + (spelling in names) > 1:
            report.notes.append(f"{', '.join(map(repr, others))} and {spelling!r} are one class")
        elif others:
            report.notes.append(f"{others[0]!r} is called {spelling!r}")
        if spelling in RESERVED:
            chosen[same] = _unused(spelling, chosen)
            report.notes.append(f"{spelling!r} is the total in tables: it is {chosen[same]!r} here")
    return chosen


def _unused(name: str, others: dict[str, str]) -> str:
    while normalize(name) in others:
        name += "_"
    return name


def _normal_classes(labels: set[str], normal_class: str) -> tuple[str, ...]:
    """Return the classes that mean no defect, by their last word or by `normal_class`."""
    named = {label for label in labels if normalize(label) == normalize(normal_class)}
    if normal_class and not named:
        raise UserError(
            f"NORMAL_CLASS {normal_class!r} is no class here: choose one of "
            f"{', '.join(sorted(labels))}"
        )
    return tuple(sorted(named | {label for label in labels if _is_normal(label)}))


def _is_normal(label: str) -> bool:
    words = re.sub(r"[\s_-]+", "_", normalize(label))
    denied = re.search(r"(^|_)(no|non|not|un)_(free|good|ok|normal)$", words)
    return not denied and re.search(rf"(^|_)({'|'.join(NORMAL)})$", words) is not None


def _why_unlabelled(kind: str, listed: bool) -> str:
    if kind == "folders":
        return "is an image outside the class folders: move it into one, or away"
    if kind == "names":
        return "has no class in its name: rename it"
    if listed:
        return "has no box that tells its class: draw one, or give NORMAL_CLASS for such images"
    return f"is named by no file of LAYOUT {kind!r}: add it to one, or move it away"
