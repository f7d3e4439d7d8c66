"""Defects that a network locates in an image."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """A defect and its box, in pixels of the image as it was given."""

    label: str
    confidence: float  # in [0, 1]
    xmin: float
    ymin: float
    xmax: float
    ymax: float
