"""Figures of a data set: its images, how many there are, and how they look."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nbutils.data.splits import PARTS
from nbutils.plots import style

NARROW = 0.05  # share of the longest bar below which a part has no room for its number
TEXTURE = {  # column -> title, unit
    "brightness": ("Brightness", "mean gray value (0-255)"),
    "contrast": ("Contrast", "standard deviation (gray values)"),
    "sharpness": ("Sharpness", "steps down and right / contrast"),
}


def samples(
    grays: list[np.ndarray],
    rows: pd.DataFrame,
    columns: int = 6,
    title: str = "",
) -> Figure:
    """Show images with their boxes, each under its class and file name.

    Images are uint8 (height, width) of any size; `rows` has the path, label and boxes of each.
    """
    captions = list(map(style.caption, rows["path"], rows["label"]))
    boxed = rows["boxes"].map(len).any()
    title = title or ("Images with their annotated boxes" if boxed else "Images and their classes")
    figure, axes = style.image_grid(grays, captions, columns, title)
    for ax, boxes, label in zip(axes.flat, rows["boxes"], rows["label"], strict=False):
        style.draw_boxes(ax, boxes, label)
    return figure


def class_balance(labels: pd.Series, part: pd.Series) -> Figure:
    """Show how many images of each class each part has."""
    counts = pd.crosstab(labels.map(style.shorten), part).reindex(columns=list(PARTS), fill_value=0)
    figure, ax = plt.subplots(figsize=(8, 1.6 + 0.34 * len(counts)))
    least = NARROW * counts.sum(axis=1).max()
    left = np.zeros(len(counts))
    for part_name, column in counts.items():
        bars = ax.barh(counts.index, column, left=left, height=0.75, label=str(part_name))
        texts = [f"{count}" if count >= least else "" for count in column]
        color = style.text_color(bars.patches[0].get_facecolor())
        ax.bar_label(bars, texts, label_type="center", color=color, fontsize=9)
        left += column.to_numpy()
    ax.set(title="Images by class and part", xlabel="images", ylabel="")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    style.legend_below(figure, ax)
    return figure


def texture(measures: pd.DataFrame, labels: pd.Series) -> Figure:
    """Show brightness, contrast and sharpness by class (of `audit.measure_texture`)."""
    names = labels.map(style.shorten)
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
    """Show an image under families of corruption: family -> the image at each severity."""
    grays = [gray for images in examples.values() for gray in images]
    captions = [f"{name.replace('_', ' ')} {at}" for name in examples for at in severities]
    title = "Families of corruption, and the severity of each image"
    return style.image_grid(grays, captions, 3 * len(severities), title, width=1.3)[0]
