"""Figures of class activation maps, and of how well they find the boxes."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nbutils.plots import draw_boxes, show_gray


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
    figure, axes = plt.subplots(2, len(grays), figsize=(2.1 * len(grays), 4.8), squeeze=False)
    for column, (gray, heat, row) in enumerate(zip(grays, maps, rows.itertuples(), strict=True)):
        show_gray(axes[0, column], gray, Path(row.path).stem)
        draw_boxes(axes[0, column], row.boxes, row.label)
        show_gray(axes[1, column], gray, f"{row.predicted} {row.confidence:.2f}")
        height, width = gray.shape
        axes[1, column].imshow(heat, cmap="inferno", alpha=0.5, vmin=0, vmax=1,
                               extent=(-0.5, width - 0.5, height - 0.5, -0.5))  # fmt: skip
        draw_boxes(axes[1, column], row.boxes, row.label)
    return figure


def methods(table: pd.DataFrame, title: str) -> Figure:
    """Show how often, and how much of, each method's map lies in the boxes, with intervals.

    Parameters
    ----------
    table
        As `localization.summary` returns it.
    title
        Of the figure.
    """
    figure, axes = plt.subplots(1, 2, figsize=(12, 1.4 + 0.4 * len(table)), sharey=True)
    figure.suptitle(title)
    places = np.arange(len(table))
    names = {"pointing": "Brightest point in a box", "energy": "Share of the map in boxes"}
    for ax, (measure, name) in zip(axes, names.items(), strict=True):
        low, high = table[f"{measure}_low"], table[f"{measure}_high"]
        reach = [(table[measure] - low).clip(0), (high - table[measure]).clip(0)]
        ax.errorbar(table[measure], places, xerr=reach, fmt="o", capsize=3)
        ax.axvline(table["coverage"].mean(), color="0.5", ls=":", label="coverage of the boxes")
        ax.set(title=name, xlabel="share, 95 % interval", xlim=(0, 1))
    axes[0].set_yticks(places, table.index)
    axes[0].invert_yaxis()
    axes[1].legend(loc="lower left", fontsize=9)
    return figure
