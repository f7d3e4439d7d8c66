"""Masks: black and white images that mark the defects of others, and the boxes around them."""

import re
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from nbutils.data.files import MASK_FOLDERS, ImageIndex
from nbutils.data.images import ImageError, decode, image_size, read_file

MIXED_FOLDERS = {"labels", "annotations"}  # hold masks or texts
SUFFIX = re.compile(r"[_-](mask|gt|label)s?$", re.IGNORECASE)
LOSSY = (".jpg", ".jpeg")
VOID = 255  # of a mask of numbers: what was left open
TOLERANCE = 16  # gray values around the two of a mask that was compressed or smoothed
TWO_VALUED = 0.95  # share of the pixels that are so near to one of the two
EDGE = 5  # pixels, that smoothed edges are narrower than
MIN_PIXELS = 10  # of a component


def separate(
    folder: Path, files: list[Path], ignored: dict[str, str]
) -> tuple[list[Path], dict[Path, Path]]:
    """Separate masks from the images that they belong to.

    A mask is in a folder of masks (`masks`, `ground_truth`), or has an image's name, with another
    suffix or ending in `_mask` or `_gt`, and one or two gray values only.

    Returns
    -------
    The images, and the mask of each image that has one. Masks without an image are entered into
    `ignored` with the reason.
    """
    masks = {file for file in files if _parents(file, folder) & MASK_FOLDERS}
    rest = [file for file in files if file not in masks]
    mixed = {file for file in rest if _parents(file, folder) & MIXED_FOLDERS}
    stems = {file.stem for file in rest if file not in mixed}
    masks |= {file for file in mixed if file.stem in stems or is_mask(file)}
    masks |= {file for file in rest if SUFFIX.search(file.stem) and is_mask(file)}
    masks |= _of_same_name([file for file in rest if file not in masks], ignored)
    images = [file for file in rest if file not in masks and str(file) not in ignored]
    return images, _assign(ImageIndex(folder, images), sorted(masks), ignored)


def is_mask(file: Path) -> bool:
    """Tell whether an image has one or two gray values only, or nearly so."""
    try:
        _foreground(file)
    except (ImageError, OSError):
        return False
    return True


def mask_boxes(mask: Path, image: Path) -> list[tuple[int, int, int, int]]:
    """Return the boxes around the connected white areas of a mask, in pixels of its image.

    A box is (xmin, ymin, xmax, ymax); areas below `MIN_PIXELS` pixels have none. A mask of another
    size is scaled.

    Raises
    ------
    ImageError
        If the file is no mask, or has another aspect ratio than its image.
    """
    foreground = _foreground(mask)
    height, width = foreground.shape
    image_width, image_height = image_size(image) or (width, height)
    if abs(width * image_height - height * image_width) > max(width, image_width):
        raise ImageError(
            f"{mask} is a mask of {width} x {height} pixels for an image of {image_width} x "
            f"{image_height}: crop it as its image"
        )
    areas, _ = ndimage.label(foreground, np.ones((3, 3)))
    sizes = np.bincount(areas.ravel())[1:]
    scale_x, scale_y = image_width / width, image_height / height
    return [
        (
            int(columns.start * scale_x),
            int(rows.start * scale_y),
            min(int(np.ceil(columns.stop * scale_x)), image_width),
            min(int(np.ceil(rows.stop * scale_y)), image_height),
        )
        for (rows, columns), size in zip(ndimage.find_objects(areas), sizes, strict=True)
        if size >= MIN_PIXELS
    ]


def _foreground(file: Path) -> np.ndarray:
    """Read the pixels of a mask that are no background: bool (height, width).

    Several values, all up to `TOLERANCE`, are numbers of classes or defects, of which the least is
    the background, and `VOID` no class; in a lossy file they are black. Raises ImageError if the
    file is no mask.
    """
    gray = decode(read_file(file), str(file))
    counts = np.array(Image.fromarray(gray).histogram())
    values = np.flatnonzero(counts)
    low, high = int(values[0]), int(values[-1])
    if low == high:
        return np.full(gray.shape, high > 0)
    if high <= TOLERANCE and len(values) > 2:
        return gray > (high if file.suffix.lower() in LOSSY else low)
    if high == VOID and len(values) > 3 and values[-2] <= TOLERANCE:
        return (gray > low) & (gray < VOID)
    levels = np.arange(len(counts))
    is_near = (levels - low <= TOLERANCE) | (high - levels <= TOLERANCE)
    is_narrow = len(values) > 2 and high - low <= 2 * TOLERANCE  # a photograph of low contrast
    if is_narrow or counts[is_near].sum() < TWO_VALUED * gray.size or _has_area(~is_near[gray]):
        raise ImageError(f"{file} has more than the two gray values of a mask: remove it")
    return gray > (low + high) // 2


def _has_area(between: np.ndarray) -> bool:
    """Tell whether pixels between the two values are more than smoothed edges: a third value."""
    return bool(ndimage.binary_erosion(between, np.ones((EDGE, EDGE))).any())


def _parents(file: Path, folder: Path) -> set[str]:
    return {part.strip().lower() for part in file.relative_to(folder).parts[:-1]}


def _of_same_name(files: list[Path], ignored: dict[str, str]) -> set[Path]:
    """Find masks among files of one folder and stem, and those of their suffix without an image."""
    groups: dict[Path, list[Path]] = {}
    for file in files:
        groups.setdefault(file.with_suffix(""), []).append(file)
    masks: set[Path] = set()
    for group in groups.values():
        if len(group) > 1:
            masks |= _of_group(group, ignored)
    suffixes = {mask.suffix.lower() for mask in masks}
    single = [group[0] for group in groups.values() if len(group) == 1]
    return masks | {file for file in single if file.suffix.lower() in suffixes and is_mask(file)}


def _of_group(group: list[Path], ignored: dict[str, str]) -> set[Path]:
    masks = {file for file in group if is_mask(file)}
    if len(masks) == len(group):  # a plain image, too: it is the one that was compressed
        masks = {file for file in group if file.suffix.lower() not in LOSSY}
        if len(masks) in (0, len(group)):
            for file in group:
                ignored[str(file)] = f"{file} is plain, as is its namesake: name masks x_mask.png"
            return set()
    return masks


def _assign(index: ImageIndex, masks: list[Path], ignored: dict[str, str]) -> dict[Path, Path]:
    """Find the image of each mask."""
    assigned: dict[Path, Path] = {}
    for mask in masks:
        stems = dict.fromkeys((mask.stem, SUFFIX.sub("", mask.stem)))
        owners = next(filter(None, (index.owners(mask, stem, False) for stem in stems)), [])
        if len(owners) != 1:
            what = f"{len(owners)} images" if owners else "no image here"
            ignored[str(mask)] = (
                f"{mask} is a mask of {what}: remove it, or put it beside its image"
            )
        elif owners[0] in assigned:
            ignored[str(mask)] = f"{mask} is a second mask of its image: keep one of them"
        else:
            assigned[owners[0]] = mask
    return assigned
