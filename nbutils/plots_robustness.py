"""Figures of corruptions and of what they do to a model."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nbutils import corruptions, synthetic
from nbutils.plots import show_gray


def families(seed: int) -> Figure:
    """Show a SYNTHETIC image under each family at severities 1, 3 and 5."""
    gray, _ = synthetic.draw("scratches", np.random.default_rng(seed))
    levels, columns = (1, 3, 5), 5
    lines = -(-len(corruptions.FAMILIES) // columns)
    figure, axes = plt.subplots(lines, columns * len(levels), figsize=(18, 1.75 * lines))
    figure.suptitle("Families at severities 1, 3 and 5 (SYNTHETIC image)")
    for ax in axes.flat:
        ax.axis("off")
    for at, family in enumerate(corruptions.FAMILIES):
        for step, level in enumerate(levels):
            ax = axes[at // columns, at % columns * len(levels) + step]
            spoiled = corruptions.corrupt(gray, family, level, np.random.default_rng(seed))
            show_gray(ax, spoiled, family.replace("_", " ") if step == 1 else "")
    return figure


def cells(table: pd.DataFrame, model: str) -> Figure:
    """Show accuracy, and confidence minus accuracy, by family and severity.

    Parameters
    ----------
    table
        As `robustness.measure` returns it.
    model
        Name in the title.
    """
    rows = table[table["family"].isin(corruptions.FAMILIES)].copy()
    rows["family"] = [
        f"{family.replace('_', ' ')}{' (left out)' if family in corruptions.LEFT_OUT else ''}"
        for family in rows["family"]
    ]
    rows["gap"] = rows["confidence"] - rows["accuracy"]
    figure, axes = plt.subplots(1, 2, figsize=(12, 6), sharey=True)
    figure.suptitle(f"{model} on corrupted test images")
    for ax, value, title, style in (
        (axes[0], "accuracy", "Accuracy", {"cmap": "cividis", "vmin": 0.5, "vmax": 1}),
        (axes[1], "gap", "Confidence - accuracy", {"cmap": "vlag", "vmin": -0.5, "vmax": 0.5}),
    ):
        grid = rows.pivot_table(value, "family", "level", sort=False).round(2) + 0.0  # no -0.00
        sns.heatmap(grid, annot=True, fmt=".2f", cbar=False, ax=ax, linewidths=0.5, **style)
        ax.set(title=title, xlabel="severity", ylabel="")
    return figure
