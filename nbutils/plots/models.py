"""Figures of a model: its training, and where its activation maps lie."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nbutils.plots import style

LABEL = {"color": "white", "fontsize": 7, "bbox": {"fc": "black", "alpha": 0.6, "pad": 1}}
MAP = {"cmap": "inferno", "vmin": 0, "vmax": 1}


def history(table: pd.DataFrame, kept: int) -> Figure:
    """Show loss and accuracy of training and validation by epoch, with the epoch that was kept.

    `table` has the columns epoch, loss, accuracy, val_loss and val_accuracy.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    units = {"loss": "loss (nats, log scale)", "accuracy": "accuracy"}
    saved = table[table["epoch"] == kept]
    for ax, (measure, unit) in zip(axes, units.items(), strict=True):
        ax.plot(table["epoch"], table[measure], "o-", ms=3, label="training")
        ax.plot(table["epoch"], table[f"val_{measure}"], "s--", ms=3, label="validation")
        ax.axvline(kept, color=style.GRAY, ls=":", label=f"kept: epoch {kept}")
        ax.plot(saved["epoch"], saved[f"val_{measure}"], "o", ms=10, mfc="none", mec=style.GRAY)
        ax.set(title=f"{measure.capitalize()} during training", xlabel="epoch", ylabel=unit)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_yscale("log")
    style.log_axis(axes[0].yaxis)
    style.percent_axis(axes[1].yaxis)
    style.legend_below(figure, axes[0])
    return figure


def activation_maps(grays: list[np.ndarray], maps: np.ndarray, rows: pd.DataFrame) -> Figure:
    """Show images with their boxes, and below each its class activation map as an overlay.

    Images are uint8 (height, width), maps float in [0, 1] (images, side, side); `rows` has the
    path, label, predicted, confidence and boxes of each.
    """
    captions = [
        f"predicted {confidence:.1%}\n{style.shorten(label, style.CAPTION_LENGTH)}"
        for label, confidence in zip(rows["predicted"], rows["confidence"], strict=True)
    ]
    title = "Images, and below them their class activation maps"
    figure, axes = _maps_over_images(grays, maps, rows, captions, title, "activation (0 to 1)")
    for both, boxes, label in zip(axes.T, rows["boxes"], rows["label"], strict=True):
        for ax in both:
            style.draw_boxes(ax, boxes, label)
    return figure


def defects(
    grays: list[np.ndarray], maps: list[np.ndarray], found: list[list[tuple]], rows: pd.DataFrame
) -> Figure:
    """Show images with the boxes that people drew, and below the defect maps and found boxes.

    Images are uint8 (height, width), maps float in [0, 1] (grid, grid); found are the defects of
    each image, (label, confidence, xmin, ymin, xmax, ymax); `rows` has the path, label and boxes.
    """
    captions = ["boxes of the network"] * len(grays)
    title = "Boxes that people drew, and below them the network's map and boxes"
    figure, axes = _maps_over_images(grays, maps, rows, captions, title, "a defect here (0 to 1)")
    columns = zip(axes.T, found, rows["boxes"], rows["label"], strict=True)
    for (top, bottom), boxes, true, label in columns:
        style.draw_boxes(top, true, label)
        style.draw_boxes(bottom, [(box[0], *box[2:]) for box in boxes], label)
        for _, confidence, left, upper, *_ in boxes:
            bottom.text(left + 2, upper + 2, f"{confidence:.0%}", va="top", **LABEL)
    return figure


def _maps_over_images(
    grays: list[np.ndarray], maps, rows: pd.DataFrame, captions: list[str], title: str, unit: str
) -> tuple[Figure, np.ndarray]:
    """Show images in a row, and below them again under their maps, with a legend of boxes."""
    above = list(map(style.caption, rows["path"], rows["label"]))
    figure, axes = style.image_grid(
        grays * 2, above + captions, len(grays), title, width=2.3, layout="constrained"
    )
    for ax, gray, heat in zip(axes[1], grays, maps, strict=True):
        height, width = gray.shape
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        overlay = ax.imshow(heat, alpha=0.5, extent=extent, **MAP)
    bar = figure.colorbar(overlay, ax=axes, label=unit, aspect=30)
    bar.outline.set_visible(False)
    lines = [Line2D([], [], color=style.BOX), Line2D([], [], color=style.OTHER_BOX, ls="--")]
    names = ["box of the image's class", "box of another class"]
    figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False)
    return figure, axes


def compare_maps(gray: np.ndarray, maps: dict[str, np.ndarray], title: str) -> Figure:
    """Show an image, and beside it named activation maps of it, float in [0, 1]."""
    figure, axes = plt.subplots(1, 1 + len(maps), figsize=(2.6 * (1 + len(maps)) + 0.8, 3.2))
    figure.suptitle(title)
    style.show_gray(axes[0], gray, "image")
    for ax, (name, heat) in zip(axes[1:], maps.items(), strict=True):
        shown = ax.imshow(heat, **MAP)
        ax.set_title(name, fontsize=8)
        ax.axis("off")
    figure.colorbar(shown, ax=axes[1:], label="activation (0 to 1)")
    return figure
