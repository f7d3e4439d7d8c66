"""The one style of all figures, the file they are saved to, and the marks that several share."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox
from seaborn.utils import relative_luminance

from nbutils import disk, runs

PALETTE = "colorblind"
BOX, OTHER_BOX = "#56b4e9", "#d55e00"  # blue: the image's class; orange, dashed: another class
GRAY = "0.35"  # thresholds and other lines of reference
MARKERS = "osD^vPX*h"
NAME_LENGTH = 32  # characters of a class or row that a figure shows
MAX_FILE_NAME = 60  # characters, of up to four bytes each
CAPTION_LENGTH = 25  # of the name of a file or class above an image
CHARACTERS_ABREAST = 36  # of the names of columns, as far as they fit side by side
CAPTION_HEIGHT = 0.5  # inches, of two lines
MARGIN = 0.35  # inches above and below a grid of images, for its title and a notice
MIN_COMPLEMENT = 1e-7  # of 1 - confidence, where float32 ends
SAME_LUMINANCE = 0.179  # of a colour on which black and white are equally easy to read (WCAG 2)
PLACES = ((0, 7), (-6, 6), (6, 6), (7, 0), (-7, 0), (0, -7), (6, -6), (-6, -6))  # points, of labels


def use_style() -> None:
    """Set the one style of all figures: white, so that they can be read on any page."""
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE)
    plt.rc("axes", titlesize=12, labelsize=11)
    plt.rc("xtick", labelsize=10)
    plt.rc("ytick", labelsize=10)
    plt.rc("legend", fontsize=10)
    plt.rc("figure", titlesize=13, facecolor="white")
    plt.rc("figure", max_open_warning=0)  # a figure for each of many classes is no mistake
    plt.rc("figure.constrained_layout", use=True, h_pad=0.08, w_pad=0.08)
    plt.rc("savefig", dpi=150, facecolor="white", bbox="tight", pad_inches=0.15)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Save a figure as `figures/<name>.png` in a folder, labelled where that is SYNTHETIC.

    What no file name should have, as the names of classes may, becomes `_`.
    """
    name = re.sub(r"[^\w. -]+", "_", name)[:MAX_FILE_NAME]
    if runs.is_synthetic(folder):
        style = {"color": OTHER_BOX, "weight": "bold", "fontsize": 11}
        figure.supxlabel("SYNTHETIC images", x=0.99, ha="right", **style)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    with disk.atomic_write(folder / "figures" / f"{name}.png") as tmp:
        figure.savefig(tmp)


def shorten(name: str, length: int = NAME_LENGTH) -> str:
    """Return a name of at most `length` characters, its middle left out, for Matplotlib to draw."""
    name = disk.printable(name)
    if len(name) > length:
        name = f"{name[: length // 2]}…{name[-(length - length // 2 - 1) :]}"
    return name.replace("$", r"\$")  # which is no formula


def caption(path: str, label: str) -> str:
    """Return what stands above an image: its file's name, after its class unless that has it."""
    name = shorten(Path(path).stem, CAPTION_LENGTH)
    return name if name.startswith(label) else f"{shorten(label, CAPTION_LENGTH)}\n{name}"


def text_color(background) -> str:
    """Return black or white, whichever is easier to read on a colour."""
    return "black" if relative_luminance(background) > SAME_LUMINANCE else "white"


def show_gray(ax: Axes, gray: np.ndarray, title: str) -> None:
    """Fill an axis with gray values on the scale 0 to 255."""
    ax.imshow(gray, cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=8, y=1)  # a place of its own, as looking for one takes long
    ax.axis("off")


def image_grid(
    grays: Sequence[np.ndarray],
    captions: Sequence[str],
    columns: int,
    title: str,
    width: float = 2.0,
    layout: str = "none",
) -> tuple[Figure, np.ndarray]:
    """Show images in their own shape, `columns` a row, each `width` inches wide with a caption.

    A constrained layout makes room for what stands beside the grid, and takes long where there are
    many images.
    """
    lines = -(-len(grays) // columns)
    shape = np.clip(np.median([gray.shape[0] / gray.shape[1] for gray in grays]), 0.2, 2)
    height = (width * shape + CAPTION_HEIGHT) * lines + 2 * MARGIN
    figure, axes = plt.subplots(
        lines, columns, figsize=(max(width * columns, 6), height), squeeze=False, layout=layout
    )
    figure.suptitle(title, y=1 - 0.08 / height if layout == "none" else None)
    if layout == "none":  # a figure without any engine takes the style's when it is saved
        no_layout = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)
        figure.set_layout_engine(no_layout)
        figure.subplots_adjust(
            left=0.02, right=0.98, bottom=MARGIN / height,
            top=1 - (MARGIN + CAPTION_HEIGHT) / height,
            wspace=0.08, hspace=CAPTION_HEIGHT / (width * shape),
        )  # fmt: skip
    for ax, gray, text in zip(axes.flat, grays, captions, strict=False):
        show_gray(ax, gray, text)
    for ax in axes.flat[len(grays) :]:
        ax.axis("off")
    return figure, axes


def draw_boxes(ax: Axes, boxes: list, label: str) -> None:
    """Draw boxes over an image: solid for its own class, dashed and named for another."""
    right_end = max(ax.get_xlim())
    for name, left, top, right, bottom in boxes:
        own = name == label
        color, line = (BOX, "-") if own else (OTHER_BOX, "--")
        corner, width, height = (left, top), right - left, bottom - top
        ax.add_patch(Rectangle(corner, width, height, fill=False, ec=color, ls=line, lw=1.5))
        if not own:
            on_left = left + right < right_end
            ax.annotate(
                shorten(name, 16), (left if on_left else right, top), (2 if on_left else -2, -2),
                textcoords="offset points", ha="left" if on_left else "right", va="top",
                color="white", fontsize=7, bbox={"fc": OTHER_BOX, "lw": 0, "pad": 1},
            )  # fmt: skip


def name_rows(ax: Axes, names: Iterable) -> None:
    """Name the rows of an axis, the first on top."""
    labels = [shorten(str(name)) for name in names]
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.5, -0.5)


def plot_intervals(ax: Axes, table: pd.DataFrame, measure: str, title: str, unit: str) -> None:
    """Plot a share with its interval in a row for each of a table: columns m, `m_low`, `m_high`."""
    values = table[measure]
    reach = [values - table[f"{measure}_low"], table[f"{measure}_high"] - values]
    reach = np.clip(np.array(reach, dtype=float), 0, None)  # rounding may make it negative
    ax.errorbar(values, range(len(table)), xerr=reach, fmt="o", capsize=3, color="C0")
    ax.set(title=title, xlabel=f"{unit}, 95 % interval")
    percent_axis(ax.xaxis)
    name_rows(ax, table.index)


def heatmap(ax: Axes, grid: pd.DataFrame, texts: pd.DataFrame, **colors) -> None:
    """Fill an axis with a table as colours (cmap, vmin, vmax, norm) with a text in each cell."""
    rows, names = ([shorten(str(name)) for name in axis] for axis in grid.axes)
    size = {"fontsize": 10 if len(names) <= 12 else 8}
    sns.heatmap(
        grid, annot=texts, fmt="", cbar=False, linewidths=0.5, ax=ax, annot_kws=size,
        xticklabels=names, yticklabels=rows, **colors,
    )  # fmt: skip
    filled = grid.notna().to_numpy().ravel()
    colors_of_cells = np.asarray(ax.collections[0].get_facecolor())[filled]
    for text, color in zip(ax.texts, colors_of_cells, strict=True):
        text.set_color(text_color(color))
    tilt = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    tilted = len(names) * max(map(len, names)) > CHARACTERS_ABREAST
    plt.setp(ax.get_xticklabels(), **(tilt if tilted else {"rotation": 0}))
    plt.setp(ax.get_yticklabels(), rotation=0)
    ax.grid(False)


def legend_below(figure: Figure, ax: Axes, columns: int = 4) -> None:
    """Put an axis' legend under the figure, where it covers no data."""
    handles, labels = ax.get_legend_handles_labels()
    columns = min(columns, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def percent_axis(axis) -> None:
    """Label an axis of shares by per cents, of which there are no more than 100."""
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %" if share < 1 + 1e-9 else "")


def log_axis(axis) -> None:
    """Label an axis of log scale by plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def complement(confidence):
    """Return 1 - confidence, at least `MIN_COMPLEMENT`: what `confidence_axis` is spaced by."""
    return np.maximum(1 - confidence, MIN_COMPLEMENT)


def confidence_axis(ax: Axes, least: float) -> None:
    """Have x, which holds `complement` from `least` on, be read as confidence on a log scale."""
    nines = [10.0**-power for power in range(1, 8) if 10.0**-power >= least / 2]
    ax.set(xscale="log", xlim=(1.2, min([*nines, 0.1]) / 2))
    names = ["0", "0.5", *(f"{1 - rest:.7g}" for rest in nines)]
    if least <= MIN_COMPLEMENT:
        names[-1] = f"≥ {names[-1]}"
    ax.set_xticks([1, 0.5, *nines], names)
    ax.minorticks_off()
    ax.set_xlabel("confidence (log scale of 1 - confidence)")


def label_lines(figure: Figure, ax: Axes) -> None:
    """Name each line of an axis to the right of its end, no name over another."""
    figure.draw_without_rendering()
    lines = ax.get_lines()
    points = np.array([np.asarray(line.get_xydata())[-1] for line in lines])
    ends = ax.transData.transform(points)[:, 1] * 72 / figure.dpi
    order = np.argsort(ends)
    steps = 13 * np.arange(len(lines))  # points, of a line of text
    places = np.maximum.accumulate(ends[order] - steps) + steps
    places -= (places - ends[order]).mean()
    for number, place in zip(order, places, strict=True):
        ax.annotate(
            lines[number].get_label(), points[number], (9, place - ends[number]),
            textcoords="offset points", va="center", fontsize=10, annotation_clip=False,
            color=0.75 * np.array(to_rgb(lines[number].get_color())),
        )  # fmt: skip


def label_points(figure: Figure, ax: Axes, points: np.ndarray, names: Sequence[str]) -> None:
    """Name points (n, 2), each where its name covers no name and no point if there is room."""
    figure.draw_without_rendering()
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in ax.transData.transform(points)]
    for point, name in zip(points, names, strict=True):
        note = ax.annotate(name, point, PLACES[0], textcoords="offset points", fontsize=9)
        for place in (*PLACES, PLACES[0]):  # the first again where none is free
            across, along = np.sign(place)
            note.set(position=place, ha=("center", "left", "right")[across],
                     va=("center", "bottom", "top")[along])  # fmt: skip
            extent = note.get_window_extent()
            inside = np.all(ax.bbox.min <= extent.min) and np.all(extent.max <= ax.bbox.max)
            if inside and not extent.count_overlaps(taken):
                break
        taken.append(extent)
