"""Images larger than those of training: windows of them at their own scale."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nbutils.data.images import LARGE
from nbutils.disk import UserError

GROUP = 64  # images, or windows of one, whose outputs are held at once
OVERLAP = 0.25  # of neighbouring windows, share of a window
SCALES = (0.05, 20.0)  # the least and the largest by which another camera's images are enlarged


@dataclass(frozen=True)
class Axis:
    """Windows along one side of an image."""

    length: int  # pixels of the image
    window: int  # pixels of a window
    grid: int  # cells of a window

    @property
    def step(self) -> int:
        """From one window to the next, in cells."""
        return max(round(self.grid * (1 - OVERLAP)), 1)

    @property
    def count(self) -> int:
        """How many windows there are."""
        beyond = max(self.length - self.window, 0)
        return 1 + math.ceil(beyond * self.grid / (self.step * self.window))

    @property
    def cells(self) -> int:
        """How many cover the image; those beyond it are cut off."""
        return min(math.ceil(self.length * self.grid / self.window), self._all_cells)

    @property
    def _all_cells(self) -> int:
        return (self.count - 1) * self.step + self.grid

    def start(self, number: int) -> int:
        """Return the first pixel of a window."""
        return round(number * self.step * self.window / self.grid)

    def own(self, number: int) -> tuple[int, int]:
        """Return the cells of a window that no other knows better: first, and behind the last."""
        rim = (self.grid - self.step) // 2
        first = 0 if number == 0 else rim
        last = self.grid if number == self.count - 1 else rim + self.step
        return first, last

    def owns(self, number: int, share: float) -> bool:
        """Tell whether a place in a window, in shares of it, lies in those cells."""
        first, last = self.own(number)
        return first <= min(share, 1 - 1e-9) * self.grid < last


@dataclass(frozen=True)
class Windows:
    """The windows of an image, row by row."""

    rows: Axis
    columns: Axis

    @property
    def count(self) -> int:
        """How many there are."""
        return self.rows.count * self.columns.count

    def places(self) -> Iterator[tuple[int, int]]:
        """Return the row and column of each window."""
        for row in range(self.rows.count):
            for column in range(self.columns.count):
                yield row, column

    def cut(self, gray: np.ndarray) -> Iterator[np.ndarray]:
        """Cut an image, uint8 (height, width); what lies beyond it is its mirror image."""
        for row, column in self.places():
            top, left = self.rows.start(row), self.columns.start(column)
            view = gray[top : top + self.rows.window, left : left + self.columns.window]
            missing = self.rows.window - view.shape[0], self.columns.window - view.shape[1]
            if any(missing):
                view = np.pad(view, [(0, pixels) for pixels in missing], mode="symmetric")
            yield view

    def paste(self, part: np.ndarray, whole: np.ndarray, row: int, column: int) -> None:
        """Put the map of a window, (grid, grid, classes), where it lies in that of the image."""
        top, bottom = self.rows.own(row)
        left, right = self.columns.own(column)
        y, x = row * self.rows.step + top, column * self.columns.step + left
        place = whole[y : row * self.rows.step + bottom, x : column * self.columns.step + right]
        place[:] = part[top:bottom, left:right][: place.shape[0], : place.shape[1]]


def make_windows(shape: Sequence[int], window: Sequence[int], grid: int) -> Windows:
    """Lay windows over an image.

    Parameters
    ----------
    shape, window
        Height and width in pixels.
    grid
        Cells along each side of a window.
    """
    return Windows(Axis(shape[0], window[0], grid), Axis(shape[1], window[1], grid))


def is_small(shape: Sequence[int], window: Sequence[int]) -> bool:
    """Tell whether an image is smaller than those of training, by as much."""
    return any(LARGE * side < usual for side, usual in zip(shape, window, strict=True))


def check_scale(scale: float, card: Mapping[str, Any]) -> float:
    """Return a scale; UserError if no camera has it, or the model's card knows no image size."""
    low, high = SCALES
    if not low <= scale <= high:  # NaN neither
        raise UserError(f"scale {scale:g} is out of range: choose one from {low:g} to {high:g}")
    if scale != 1 and not card.get("image_size"):
        raise UserError(
            f"scale {scale:g} needs a model that knows the size of its training images, which its "
            "model.json lacks: run 02_training again"
        )
    return scale
