"""The one style of all figures, the file they are saved to, and the marks that several share."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox

from nbutils import runs

PALETTE = "colorblind"
BOX, OTHER_BOX = "#56b4e9", "#d55e00"  # blue: the image's class; orange, dashed: another class
GRAY = "0.35"  # thresholds and other lines of reference
MARKERS = "osD^vPX*h"
NAME_LENGTH = 32  # characters of a class or row that a figure shows
CAPTION_LENGTH = 25  # of the name of a file or class above an image
MIN_COMPLEMENT = 1e-7  # of 1 - confidence, where float32 ends
SAME_LUMINANCE = 0.179  # of a colour on which black and white are equally easy to read (WCAG 2)
PLACES = (  # of a label beside its point: offset in points, alignment
    ((0, 7), "center", "bottom"),
    ((-6, 6), "right", "bottom"),
    ((6, 6), "left", "bottom"),
    ((7, 0), "left", "center"),
    ((-7, 0), "right", "center"),
    ((0, -7), "center", "top"),
    ((6, -6), "left", "top"),
    ((-6, -6), "right", "top"),
)


def use_style() -> None:
    """Set the one style of all figures: white, so that they can be read on any page."""
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE)
    plt.rcParams.update(
        {
            "axes.titlesize": 12,
            "axes.labelsize": 11,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "legend.fontsize": 10,
            "figure.titlesize": 13,
            "figure.constrained_layout.use": True,
            "figure.constrained_layout.h_pad": 0.08,
            "figure.constrained_layout.w_pad": 0.08,
            "figure.facecolor": "white",
            "figure.max_open_warning": 0,  # a figure for each of many classes is no mistake
            "savefig.dpi": 150,
            "savefig.facecolor": "white",
            "savefig.bbox": "tight",
            "savefig.pad_inches": 0.15,
        }
    )


def save(figure: Figure, folder: Path, name: str) -> None:
    """Save a figure as `figures/<name>.png` in a folder, labelled where that is SYNTHETIC."""
    if runs.is_synthetic(folder):
        style = {"color": OTHER_BOX, "weight": "bold", "fontsize": 11}
        figure.supxlabel("SYNTHETIC images", x=0.99, ha="right", **style)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    with runs.atomic_write(folder / "figures" / f"{name}.png") as tmp:
        figure.savefig(tmp)


def shorten(name: str, length: int = NAME_LENGTH) -> str:
    """Return a name of at most `length` characters, its middle left out."""
    if len(name) <= length:
        return name
    return f"{name[: length // 2]}…{name[-(length - length // 2 - 1) :]}"


def caption(path: str, label: str) -> str:
    """Return what stands above an image: its file's name, after its class unless that has it."""
    name = shorten(Path(path).stem, CAPTION_LENGTH)
    return name if name.startswith(label) else f"{shorten(label, CAPTION_LENGTH)}\n{name}"


def text_color(background) -> str:
    """Return black or white, whichever is easier to read on a colour (WCAG 2 luminance)."""
    values = np.array(to_rgb(background))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > SAME_LUMINANCE else "white"


def show_gray(ax: Axes, gray: np.ndarray, title: str) -> None:
    """Fill an axis with gray values on the scale 0 to 255."""
    ax.imshow(gray, cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=8)
    ax.axis("off")


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


def plot_intervals(ax: Axes, table: pd.DataFrame, measure: str, color: str = "C0") -> None:
    """Plot a measure and its interval, a row of a table each: columns m, `m_low`, `m_high`."""
    values = table[measure]
    reach = [values - table[f"{measure}_low"], table[f"{measure}_high"] - values]
    reach = np.clip(np.array(reach, dtype=float), 0, None)  # rounding may make it negative
    ax.errorbar(values, np.arange(len(table)), xerr=reach, fmt="o", capsize=3, color=color)


def heatmap(ax: Axes, grid: pd.DataFrame, texts: pd.DataFrame, **colors) -> None:
    """Fill an axis with a table as colours, a text in each cell in the colour that can be read.

    Parameters
    ----------
    grid, texts
        Values, and what stands in their cells.
    colors
        cmap, and vmin and vmax or norm.
    """
    size = {"fontsize": 10 if grid.shape[1] <= 12 else 8}
    sns.heatmap(
        grid, annot=texts, fmt="", cbar=False, linewidths=0.5, ax=ax, annot_kws=size,
        xticklabels=False, yticklabels=False, **colors,
    )  # fmt: skip
    mesh = ax.collections[0]
    filled = ~np.isnan(grid.to_numpy(float)).ravel()
    colors_of_cells = np.asarray(mesh.get_facecolor())[filled]
    for text, color in zip(ax.texts, colors_of_cells, strict=True):
        text.set_color(text_color(color))
    names = [shorten(str(name)) for name in grid.columns]
    tilted = max(map(len, names)) > 12 or len(names) > 12
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=40 if tilted else 0)
    if tilted:
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    rows = [shorten(str(name)) for name in grid.index]
    ax.set_yticks(np.arange(len(rows)) + 0.5, rows, rotation=0)
    ax.grid(False)


def legend_below(figure: Figure, ax: Axes, columns: int = 4, **options) -> None:
    """Put an axis' legend under the figure, where it covers no data."""
    handles, labels = ax.get_legend_handles_labels()
    columns = min(columns, len(labels))
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, **options
    )


def percent_axis(axis) -> None:
    """Label an axis of shares by per cents, of which there are no more than 100."""
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(
        FuncFormatter(lambda share, _: f"{100 * share:.4g} %" if share < 1 + 1e-9 else "")
    )


def log_axis(axis) -> None:
    """Label an axis of log scale by plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def complement(confidence):
    """Return 1 - confidence, at least `MIN_COMPLEMENT`: what `confidence_axis` is spaced by."""
    return np.maximum(1 - confidence, MIN_COMPLEMENT)


def confidence_axis(ax: Axes, least: float) -> None:
    """Have x, which holds `complement`, run on a log scale and be read as confidence.

    Parameters
    ----------
    ax
        Its axis.
    least
        The smallest complement that is shown.
    """
    nines = [10.0**-power for power in range(1, 8) if 10.0**-power >= least / 2]
    ax.set_xscale("log")
    ax.set_xlim(1.2, min([*nines, 0.1]) / 2)
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
    taken = [
        Bbox.from_extents(left - 4, bottom - 4, left + 4, bottom + 4)
        for left, bottom in ax.transData.transform(points)
    ]
    for point, name in zip(points, names, strict=True):
        notes = [
            ax.annotate(
                name, point, offset, textcoords="offset points", ha=horizontal, va=vertical,
                fontsize=9,
            )
            for offset, horizontal, vertical in PLACES
        ]  # fmt: skip
        extents = [note.get_window_extent() for note in notes]
        free = [
            place
            for place, extent in enumerate(extents)
            if np.all(ax.bbox.min <= extent.min)
            and np.all(extent.max <= ax.bbox.max)
            and not any(extent.overlaps(other) for other in taken)
        ]
        chosen = free[0] if free else 0
        taken.append(extents[chosen])
        for note in notes[:chosen] + notes[chosen + 1 :]:
            note.remove()
