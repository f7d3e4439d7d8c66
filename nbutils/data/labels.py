"""The class of each image, as folders, names of files or annotations say it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nbutils.data import files
from nbutils.data.regions import Region, Regions
from nbutils.disk import UserError

NEU_CLASSES = (
    "crazing",
    "inclusion",
    "patches",
    "pitted_surface",
    "rolled-in_scale",
    "scratches",
)
NEU_CLS_PREFIXES = dict(zip(("Cr", "In", "Pa", "PS", "RS", "Sc"), NEU_CLASSES, strict=True))
LAYOUTS = {  # value of LAYOUT -> where the class of an image is read
    "folders": "a folder for each class",
    "names": "the names of the files",
    "voc": "boxes in Pascal VOC files",
    "coco": "boxes in COCO files",
    "yolo": "boxes in YOLO files",
    "csv": "a table with the columns path and label",
}
NONE, NO_DEFECT = "none", "no_defect"  # said of an image: of the classes; no defect at all
EXAMPLES = 3  # folders or names that an error gives
RESERVED = ("all",)  # what tables call the total of their classes
BYTES = re.compile("[\udc80-\udcff]")  # of a name that is not in UTF-8, as Python keeps them


def clean(name: str) -> str:
    """Return a class name that any table and page can hold: one line of composed Unicode.

    Bytes that are not UTF-8 are read as Latin-1. A semicolon becomes a comma, since it separates
    the members of a prediction set.
    """
    name = BYTES.sub(lambda byte: chr(ord(byte[0]) - 0xDC00), name)
    name = unicodedata.normalize("NFC", " ".join(name.replace(";", ",").split()))
    return "".join(one for one in name if unicodedata.category(one) not in ("Cc", "Cs"))


def normalize(name: str) -> str:
    """Return what spellings of one class have in common."""
    return clean(name).casefold()


def class_of(stem: str) -> str:
    """Return the class that the name of a file begins with: `crazing` of `crazing_1`.

    And of `crazing (1)`, as Windows numbers files.
    """
    prefix = re.sub(r"[_\- ]?(\d+|\(\d+\))$", "", stem)
    return NEU_CLS_PREFIXES.get(prefix, prefix)


def largest_class(regions: Iterable[Region]) -> str:
    """Return the class of the largest total area; empty if there is none, or two are equal."""
    areas: Counter[str] = Counter()
    spellings: dict[str, str] = {}
    for region in regions:
        if region.label:
            name = normalize(region.label)
            spellings.setdefault(name, region.label)
            areas[name] += 0
            if region.edges:
                left, top, right, bottom = region.edges
                areas[name] += round((right - left) * (bottom - top))
    ranks = areas.most_common(2)
    if not ranks or (len(ranks) == 2 and ranks[0][1] == ranks[1][1]):
        return ""
    return spellings[ranks[0][0]]


@dataclass(frozen=True)
class LabelSources:
    """Where the classes of images may be read: folders, names of files, annotations."""

    folder: Path
    images: list[Path]
    regions: dict[str, Regions]

    def choose(self, layout: str) -> tuple[str, dict[Path, str]]:
        """Return where the classes are read, and the class of each image that has one."""
        if layout:
            return layout, self._given(layout)
        kind, labels = self._by_path()
        given = [name for name in ("coco", "yolo", "csv") if self._by_regions(name)]
        if len(given) > 1:
            raise self._ambiguous(given, "each gives classes")
        rivals = given or ["voc"]
        annotated = self._by_regions(rivals[0])
        if labels and len(set(map(normalize, annotated.values()))) > 1:
            self._compare(kind, labels, rivals[0])
        if labels or not annotated:
            return (kind, labels) if labels else self._last_resort()
        return rivals[0], annotated

    def _given(self, layout: str) -> dict[Path, str]:
        """Return the classes as LAYOUT says; UserError if there are none."""
        if layout == "names":
            labels = {image: class_of(image.stem) for image in self.images}
        elif layout == "folders":
            levels = self._levels() or [-1]
            labels = self._at_level(levels[-1])
        else:
            labels = self._by_regions(layout)
        if not any(labels.values()):
            raise UserError(
                f"LAYOUT {layout!r} does not fit {self.folder}: no image has its class from "
                f"{LAYOUTS[layout]}; leave LAYOUT empty, or choose another"
            )
        return labels

    def _by_regions(self, kind: str) -> dict[Path, str]:
        labels = {
            image: largest_class(annotated) for image, annotated in self.regions[kind].items()
        }
        return {image: label for image, label in labels.items() if label}

    def _by_path(self) -> tuple[str, dict[Path, str]]:
        """Read the classes from folders or names; nothing where neither tells them."""
        levels = self._levels()
        names = {image: class_of(image.stem) for image in self.images}
        prefixes = Counter(names.values())
        repeated = len(prefixes) > 1 and 2 * len(prefixes) <= len(self.images)
        of_neu = self._are_neu_classes(names)
        if not levels:
            return ("names", names) if of_neu or repeated else ("", {})
        if len(levels) > 1:
            raise self._two_levels(levels)
        labels = self._at_level(levels[0])
        if of_neu or (repeated and self._rival(names, labels)):
            example = ", ".join(list(prefixes)[:EXAMPLES])
            folders = ", ".join(sorted(set(labels.values()))[:EXAMPLES])
            raise self._ambiguous(["folders", "names"], f"folders {folders}; names {example}")
        return "folders", labels

    def _are_neu_classes(self, names: dict[Path, str]) -> bool:
        """Tell whether files of several NEU-DET classes, by their names, share a folder."""
        known: dict[Path, set[str]] = {}
        for image, name in names.items():
            known.setdefault(image.parent, set()).update({name} & set(NEU_CLASSES))
        return any(len(classes) > 1 for classes in known.values())

    def _rival(self, names: dict[Path, str], labels: dict[Path, str]) -> bool:
        """Tell whether names could be classes as well: numbered words that folders share."""
        if any(re.search(r"\d|^$", name) or image.stem == name for image, name in names.items()):
            return False
        folders: dict[str, set[str]] = {}
        for image, name in names.items():
            folders.setdefault(normalize(name), set()).add(normalize(labels.get(image, "")))
        outside = {name for name, of in folders.items() if "" in of}
        return any(len(of) > 1 for of in folders.values()) or len(outside) > 1

    def _levels(self) -> list[int]:
        """Return the levels of folders, outermost first, at which several names are."""
        paths = [files.class_folders(image, self.folder) for image in self.images]
        levels = {}
        for level in range(max(map(len, paths))):
            names = Counter(normalize(parts[level]) for parts in paths if len(parts) > level)
            if len(names) > 1:
                levels[level] = max(names.values()) > 1
        return [level for level, repeated in levels.items() if repeated] or list(levels)[:1]

    def _at_level(self, level: int) -> dict[Path, str]:
        labels = {}
        for image in self.images:
            parts = files.class_folders(image, self.folder)
            if len(parts) > max(level, 0):
                labels[image] = parts[level]
        return labels

    def _compare(self, kind: str, labels: dict[Path, str], rival: str) -> None:
        """Raise UserError where annotations give other classes than folders or names do."""
        differing = [
            (image, annotated)
            for image, regions in self.regions[rival].items()
            if image in labels and (annotated := {normalize(region.label) for region in regions})
            if normalize(labels[image]) not in annotated
        ]
        n_annotated = sum(map(bool, self.regions[rival].values()))
        if differing and (rival != "voc" or len(differing) == n_annotated):
            image, annotated = differing[0]
            example = (
                f"{image.name} is {labels[image]!r} by one, {sorted(annotated)[0]!r} by the other"
            )
            raise self._ambiguous([kind, rival], f"{len(differing)} images differ: {example}")

    def _last_resort(self) -> tuple[str, dict[Path, str]]:
        """Read the classes where little tells them: one folder, or names that hardly repeat."""
        labels = self._at_level(-1)
        if len(labels) == len(self.images):
            return "folders", labels
        return "names", {image: class_of(image.stem) for image in self.images}

    def _ambiguous(self, kinds: list[str], how: str) -> UserError:
        ways = " or ".join(f"{LAYOUTS[kind]} ({kind!r})" for kind in kinds)
        return UserError(
            f"{self.folder} can be read in two ways: the classes are in {ways} ({how}); "
            "set LAYOUT to the right one"
        )

    def _two_levels(self, levels: list[int]) -> UserError:
        names = (sorted(set(self._at_level(level).values()))[:EXAMPLES] for level in levels)
        ways = " or ".join(", ".join(level) for level in names)
        return UserError(
            f"{self.folder} can be read in two ways: the classes are the folders {ways}; set "
            "LAYOUT to 'folders' for the inner ones, 'csv' with a table for others"
        )
