"""Figures of the comparison of models, from the tables that `protocols` and `cost` make."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

from nbutils.plots import PALETTE

TITLES = {
    "fixed": "fixed split",
    "blocked": "blocked 5-fold",
    "halves": "half of each class, repeated",
}
MARKERS = "osD^vPX*h"


def accuracies(worth: pd.DataFrame) -> Figure:
    """Show each model's accuracy with its interval, a panel for each protocol.

    Parameters
    ----------
    worth
        As `protocols.summary` returns it; the learning curve is left out.
    """
    worth = worth[worth["protocol"] != "curve"]
    protocols, models = worth["protocol"].unique(), worth["model"].unique()
    size = (4 * len(protocols) + 2, 1.2 + 0.4 * len(models))
    figure, axes = plt.subplots(1, len(protocols), figsize=size, sharey=True, squeeze=False)
    for ax, protocol in zip(axes[0], protocols, strict=True):
        rows = worth[worth["protocol"] == protocol].set_index("model").reindex(models)
        places = np.arange(len(models))
        reach = [rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]]
        ax.errorbar(rows["accuracy"], places, xerr=reach, fmt="o", capsize=3)
        for place, value in zip(places, rows["accuracy"], strict=True):
            if not np.isnan(value):
                ax.annotate(
                    f"{value:.2%}", (value, place), (0, 5), textcoords="offset points",
                    ha="center", fontsize=9,
                )  # fmt: skip
        ax.set(title=TITLES[protocol], xlabel="accuracy, 95 % interval")
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        ax.margins(x=0.15)
    axes[0, 0].set_yticks(np.arange(len(models)), models)
    axes[0, 0].invert_yaxis()
    return figure


def learning_curve(worth: pd.DataFrame) -> Figure:
    """Show the accuracy by the number of training images of each class."""
    rows = worth[worth["protocol"] == "curve"]
    models = rows["model"].unique()
    figure, ax = plt.subplots(figsize=(9, 5))
    colors = sns.color_palette(PALETTE, len(models))
    for at, (model, color) in enumerate(zip(models, colors, strict=True)):
        line = rows[rows["model"] == model].sort_values("per_class")
        beside = line["per_class"] * 1.04 ** (at - len(models) / 2)
        reach = [line["accuracy"] - line["low"], line["high"] - line["accuracy"]]
        style = {"marker": MARKERS[at % len(MARKERS)], "color": color, "elinewidth": 1}
        ax.errorbar(beside, line["accuracy"], yerr=reach, label=model, alpha=0.9, **style)
    counts = sorted(rows["per_class"].unique())
    ax.set_xscale("log")
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set(
        title="Learning curve on the test part, with 95 % intervals",
        xlabel="training images of each class",
        ylabel="accuracy",
    )
    ax.legend(title="", loc="lower right")
    return figure


def cost(table: pd.DataFrame) -> Figure:
    """Show accuracy against the time of one prediction; the legend has the size of the file.

    Parameters
    ----------
    table
        Index model; accuracy, one_ms, file_mb.
    """
    figure, ax = plt.subplots(figsize=(10, 4.5))
    colors = sns.color_palette(PALETTE, len(table))
    for at, (model, row) in enumerate(table.sort_values("one_ms").iterrows()):
        label = f"{model} ({row['file_mb']:.1f} MB)"
        style = {"s": 90, "color": colors[at], "marker": MARKERS[at % len(MARKERS)]}
        ax.scatter(row["one_ms"], row["accuracy"], label=label, **style)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.margins(0.1)
    ax.set(
        title="What accuracy costs",
        xlabel="one image, from bytes to answer (ms)",
        ylabel="accuracy",
    )
    ax.legend(title="model (file)", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
