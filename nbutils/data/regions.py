"""Regions of images: what annotations say, fitted to the images, and what could not be used."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nbutils.data.images import image_size

Box = tuple[str, int, int, int, int]  # label, xmin, ymin, xmax, ymax in pixels
Edges = tuple[float, float, float, float]
CLIPPED, ORDERED = "clipped to their image", "with their corners put in order"
REPEATED = "left out, there twice"
NOT_FINITE, EMPTY, OUTSIDE, UNNAMED = (
    f"left out, {why}"
    for why in ("not finite", "empty", "outside their image or below a pixel", "of no known class")
)
EXAMPLES = 3  # files named in a line


@dataclass(frozen=True)
class Region:
    """What a file says of an image: a class, and where it is (None: the file does not say)."""

    label: str
    edges: Edges | None
    source: Path


Regions = dict[Path, list[Region]]  # of each image; none: it is named without a box


@dataclass
class Report:
    """What could not be used (file -> reason), what was changed, and what became of boxes."""

    ignored: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    boxes: dict[str, dict[str, int]] = field(default_factory=dict)  # what -> file -> how many

    def ignore(self, path: Path, reason: str) -> None:
        """Enter a file with the reason, a sentence that begins with its path."""
        known = self.ignored.get(str(path))
        self.ignored[str(path)] = f"{known}; it {reason}" if known else f"{path} {reason}"

    def count_box(self, what: str, source: Path) -> None:
        """Enter what became of a box of a file."""
        files = self.boxes.setdefault(what, {})
        files[str(source)] = files.get(str(source), 0) + 1

    def describe_boxes(self) -> list[str]:
        """Say what became of boxes, a line each, with the first files."""
        counts = {what: sum(files.values()) for what, files in self.boxes.items()}
        return [
            f"{counts[what]} {'box' if counts[what] == 1 else 'boxes'} {what}: "
            f"{list_files(list(files))}"
            for what, files in self.boxes.items()
        ]


def list_files(paths: list[str]) -> str:
    """Name the first of some files."""
    names = ", ".join(Path(path).name for path in paths[:EXAMPLES])
    return names + (f" and {len(paths) - EXAMPLES} more" if len(paths) > EXAMPLES else "")


def clip_to_images(regions: Regions, report: Report) -> Regions:
    """Clip boxes to their images, and leave those out that are none or there twice."""
    fitted: Regions = {}
    for image, listed in regions.items():
        size = image_size(image) if any(region.edges for region in listed) else None
        fitted[image] = list(_distinct((_fit(each, size, report) for each in listed), report))
    return fitted


def _distinct(regions: Iterable[Region], report: Report) -> Iterator[Region]:
    """Leave out boxes that are there twice, as where several files list an image."""
    known = set()
    for region in regions:
        if region.edges and (region.label, region.edges) in known:
            report.count_box(REPEATED, region.source)
            continue
        known.add((region.label, region.edges))
        yield region


def _fit(region: Region, size: tuple[int, int] | None, report: Report) -> Region:
    """Return a region with whole pixels within its image; without edges where it has none."""
    if not region.edges or not size:  # the size is unknown where the image cannot be read
        return Region(region.label, None, region.source)
    edges, what = _clip(region.edges, size) if region.label else (None, UNNAMED)
    if what:
        report.count_box(what, region.source)
    return Region(region.label, edges, region.source)


def _clip(edges: Edges, size: tuple[int, int]) -> tuple[Edges | None, str]:
    """Return a box as whole pixels within its image, None if it is none, and what was done."""
    if not all(map(math.isfinite, edges)):
        return None, NOT_FINITE
    if edges[0] == edges[2] or edges[1] == edges[3]:
        return None, EMPTY
    left, top, right, bottom = map(round, edges)
    x, y = sorted((left, right)), sorted((top, bottom))
    inside = [
        [min(max(value, 0), end) for value in pair] for pair, end in zip((x, y), size, strict=True)
    ]
    if inside[0][0] == inside[0][1] or inside[1][0] == inside[1][1]:
        return None, OUTSIDE
    is_ordered = (left, top) == (x[0], y[0])
    what = CLIPPED if inside != [x, y] else "" if is_ordered else ORDERED
    return (inside[0][0], inside[1][0], inside[0][1], inside[1][1]), what
