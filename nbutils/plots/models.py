"""Figures of a model: its training, and where its activation maps lie."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from nbutils.plots.style import (
    BOX,
    CAPTION_LENGTH,
    GRAY,
    OTHER_BOX,
    caption,
    draw_boxes,
    legend_below,
    log_axis,
    percent_axis,
    shorten,
    show_gray,
)


def history(table: pd.DataFrame, kept: int) -> Figure:
    """Show loss and accuracy of training and validation by epoch, with the epoch that was kept.

    Parameters
    ----------
    table
        epoch, loss, accuracy, val_loss and val_accuracy.
    kept
        Epoch whose weights the saved model has.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    units = {"loss": "loss (nats, log scale)", "accuracy": "accuracy"}
    saved = table[table["epoch"] == kept]
    for ax, (measure, unit) in zip(axes, units.items(), strict=True):
        ax.plot(table["epoch"], table[measure], "o-", ms=3, label="training")
        ax.plot(table["epoch"], table[f"val_{measure}"], "s--", ms=3, label="validation")
        ax.axvline(kept, color=GRAY, ls=":", label=f"kept: epoch {kept}")
        ax.plot(saved["epoch"], saved[f"val_{measure}"], "o", ms=10, mfc="none", mec=GRAY)
        ax.set(title=f"{measure.capitalize()} during training", xlabel="epoch", ylabel=unit)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_yscale("log")
    log_axis(axes[0].yaxis)
    percent_axis(axes[1].yaxis)
    legend_below(figure, axes[0])
    return figure


def activation_maps(grays: list[np.ndarray], maps: np.ndarray, rows: pd.DataFrame) -> Figure:
    """Show images with their boxes, and below each its class activation map as an overlay.

    Parameters
    ----------
    grays
        uint8 arrays (height, width).
    maps
        float in [0, 1], shape (images, side, side).
    rows
        path, label, predicted, confidence and boxes of each.
    """
    shape = np.clip(np.median([gray.shape[0] / gray.shape[1] for gray in grays]), 0.2, 2)
    size = (max(2.1 * len(grays) + 1, 6), 2 * (2 * shape + 0.5) + 0.9)
    figure, axes = plt.subplots(2, len(grays), figsize=size, squeeze=False)
    figure.suptitle("Images, and below them their class activation maps")
    records = rows.to_dict("records")
    for (top, bottom), gray, heat, row in zip(axes.T, grays, maps, records, strict=True):
        show_gray(top, gray, caption(row["path"], row["label"]))
        predicted = shorten(row["predicted"], CAPTION_LENGTH)
        show_gray(bottom, gray, f"predicted {row['confidence']:.1%}\n{predicted}")
        height, width = gray.shape
        overlay = bottom.imshow(heat, cmap="inferno", alpha=0.5, vmin=0, vmax=1,
                                extent=(-0.5, width - 0.5, height - 0.5, -0.5))  # fmt: skip
        for ax in (top, bottom):
            draw_boxes(ax, row["boxes"], row["label"])
    bar = figure.colorbar(overlay, ax=axes, label="activation (0 to 1)", aspect=30)
    bar.outline.set_visible(False)
    lines = [Line2D([], [], color=BOX), Line2D([], [], color=OTHER_BOX, ls="--")]
    names = ["box of the image's class", "box of another class"]
    figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def compare_maps(gray: np.ndarray, maps: dict[str, np.ndarray], title: str) -> Figure:
    """Show an image, and beside it activation maps of it.

    Parameters
    ----------
    gray
        uint8 (height, width).
    maps
        Name -> float in [0, 1], shape (side, side).
    title
        Of the figure.
    """
    figure, axes = plt.subplots(1, 1 + len(maps), figsize=(2.6 * (1 + len(maps)) + 0.8, 3.2))
    figure.suptitle(title)
    show_gray(axes[0], gray, "image")
    for ax, (name, heat) in zip(axes[1:], maps.items(), strict=True):
        shown = ax.imshow(heat, cmap="inferno", vmin=0, vmax=1)
        ax.set_title(name, fontsize=8)
        ax.axis("off")
    figure.colorbar(shown, ax=axes[1:], label="activation (0 to 1)")
    return figure
