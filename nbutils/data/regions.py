"""Regions of images: what annotations say, fitted to the images, and what could not be used."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nbutils.data.images import image_size

Box = tuple[str, int, int, int, int]  # label, xmin, ymin, xmax, ymax in pixels
Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class Region:
    """What a file says of an image: a class, and where it is (None: the file does not say)."""

    label: str
    edges: Edges | None
    source: Path


Regions = dict[Path, list[Region]]  # of each image; none: it is named without a box


@dataclass
class Report:
    """What could not be used (file -> reason), and what was changed."""

    ignored: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def ignore(self, path: Path, reason: str) -> None:
        """Enter a file with the reason, a sentence that begins with its path."""
        known = self.ignored.get(str(path))
        self.ignored[str(path)] = f"{known}; it {reason}" if known else f"{path} {reason}"


def largest_class(regions: Iterable[Region]) -> str:
    """Return the class of the largest total area; empty if there is none, or two are equal."""
    areas: Counter[str] = Counter()
    for region in regions:
        if region.label:
            areas[region.label] += 0
            if region.edges:
                left, top, right, bottom = region.edges
                areas[region.label] += round((right - left) * (bottom - top))
    ranks = areas.most_common(2)
    if not ranks or (len(ranks) == 2 and ranks[0][1] == ranks[1][1]):
        return ""
    return ranks[0][0]


def fit(regions: Regions, report: Report) -> Regions:
    """Clip boxes to their images, and leave those out that are none."""
    clipped: Counter[Path] = Counter()
    wrong: dict[Path, list[str]] = {}
    fitted: Regions = {}
    for image, listed in regions.items():
        size = image_size(image) if any(region.edges for region in listed) else None
        fitted[image] = []
        for region in listed:
            edges, reason = _clip(region.edges, size) if region.edges and size else (None, "")
            if reason:
                wrong.setdefault(region.source, []).append(f"{reason} in {image.name}")
            clipped[region.source] += bool(
                edges and region.edges and edges != _rounded(region.edges)
            )
            fitted[image].append(Region(region.label, edges, region.source))
    for source, reasons in wrong.items():
        report.ignore(source, f"has {_count(reasons, 'box')} left out ({reasons[0]}): correct it")
    report.notes += [
        f"{number} boxes of {source} were put in order or clipped to their image"
        for source, number in clipped.items()
        if number
    ]
    return fitted


def _clip(edges: Edges, size: tuple[int, int]) -> tuple[Edges | None, str]:
    """Return a box as whole pixels within its image, or the reason why it is none."""
    if not all(map(math.isfinite, edges)):
        return None, "a box that is not finite"
    if edges[0] == edges[2] or edges[1] == edges[3]:
        return None, "an empty box"
    edges = _rounded(edges)
    left, right = sorted((edges[0], edges[2]))
    top, bottom = sorted((edges[1], edges[3]))
    width, height = size
    x = [min(max(value, 0), width) for value in (left, right)]
    y = [min(max(value, 0), height) for value in (top, bottom)]
    if x[0] == x[1] or y[0] == y[1]:
        return None, "a box outside the image or below a pixel"
    return (x[0], y[0], x[1], y[1]), ""


def _rounded(edges: Edges) -> Edges:
    left, top, right, bottom = map(round, edges)
    return left, top, right, bottom


def _count(things: list[str], name: str) -> str:
    return f"1 {name}" if len(things) == 1 else f"{len(things)} {name}es"
