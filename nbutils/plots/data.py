"""Figures of a data set: its images, how many there are, and how they look."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nbutils.data.splits import PARTS
from nbutils.plots.style import caption, draw_boxes, legend_below, shorten, show_gray, text_color

WIDTH = 2.0  # inches, of an image
NARROW = 0.05  # share of the longest bar below which a part has no room for its number
TEXTURE = {  # column -> title, unit
    "mean": ("Brightness", "mean gray value (0-255)"),
    "contrast": ("Contrast", "standard deviation (gray values)"),
    "roughness": ("Roughness", "neighbour difference / contrast"),
}


def samples(
    grays: list[np.ndarray],
    rows: pd.DataFrame,
    columns: int = 6,
    title: str = "Images with their annotated boxes",
) -> Figure:
    """Show images with their boxes, `columns` a row, each under its class and file name.

    Parameters
    ----------
    grays
        uint8 arrays (height, width), of any sizes.
    rows
        path, label and boxes of each.
    columns
        Images a row.
    title
        Of the figure.
    """
    lines = -(-len(grays) // columns)
    shape = np.clip(np.median([gray.shape[0] / gray.shape[1] for gray in grays]), 0.2, 2)
    size = (max(WIDTH * columns, 6), (WIDTH * shape + 0.5) * lines + 0.4)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
    figure.suptitle(title)
    for ax in axes.flat:
        ax.axis("off")
    for ax, gray, row in zip(axes.flat, grays, rows.to_dict("records"), strict=False):
        show_gray(ax, gray, caption(row["path"], row["label"]))
        draw_boxes(ax, row["boxes"], row["label"])
    return figure


def class_balance(labels: pd.Series, part: pd.Series) -> Figure:
    """Show how many images of each class each part has."""
    counts = pd.crosstab(labels, part).reindex(columns=list(PARTS), fill_value=0)
    counts.index = counts.index.map(shorten)
    figure, ax = plt.subplots(figsize=(8, 1.6 + 0.34 * len(counts)))
    least = NARROW * counts.sum(axis=1).max()
    left = np.zeros(len(counts))
    for part_name, column in counts.items():
        bars = ax.barh(counts.index, column, left=left, height=0.75, label=str(part_name))
        texts = [f"{count}" if count >= least else "" for count in column]
        color = text_color(bars.patches[0].get_facecolor())
        ax.bar_label(bars, texts, label_type="center", color=color, fontsize=9)
        left += column.to_numpy()
    ax.set(title="Images by class and part", xlabel="images", ylabel="")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    legend_below(figure, ax)
    return figure


def texture(measures: pd.DataFrame, labels: pd.Series) -> Figure:
    """Show brightness, contrast and roughness by class (of `audit.measure_texture`)."""
    names = labels.map(shorten)
    order = sorted(names.unique())
    size = (12, 1.5 + 0.34 * len(order))
    figure, axes = plt.subplots(1, 3, figsize=size, sharey=True)
    for ax, (column, (title, unit)) in zip(axes, TEXTURE.items(), strict=True):
        sns.boxplot(
            x=measures[column], y=names, order=order, ax=ax, color="C0", width=0.6, fliersize=2
        )
        ax.set(title=title, xlabel=unit, ylabel="")
    return figure


def families(examples: dict[str, list[np.ndarray]], severities: Sequence[float]) -> Figure:
    """Show an image under families of corruption at a few severities.

    Parameters
    ----------
    examples
        Family -> the image at each of `severities`, uint8 (height, width).
    severities
        In the order of the images.
    """
    columns = 3  # families a row
    lines = -(-len(examples) // columns)
    width = columns * len(severities)
    figure, axes = plt.subplots(
        lines, width, figsize=(1.3 * width, 1.7 * lines + 0.4), squeeze=False
    )
    figure.suptitle("Families of corruption, and the severity of each image")
    for ax in axes.flat:
        ax.axis("off")
    for number, (family, grays) in enumerate(examples.items()):
        start = number % columns * len(severities)
        row = axes[number // columns, start : start + len(severities)]
        for ax, gray, severity in zip(row, grays, severities, strict=True):
            show_gray(ax, gray, f"{family.replace('_', ' ')} {severity}")
    return figure
