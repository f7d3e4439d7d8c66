"""Figures: each function takes data and returns a figure; none loads, shows or computes results."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from nbutils import paths
from nbutils.splits import PARTS

PALETTE = "colorblind"
BOX, OTHER_BOX = "#56b4e9", "#d55e00"  # blue: the image's class; orange, dashed: another class


def use_style() -> None:
    """Set the one style of all figures."""
    sns.set_theme(context="notebook", style="whitegrid", palette=PALETTE)
    plt.rcParams.update({"savefig.dpi": 150, "figure.constrained_layout.use": True})


def save(figure: Figure, run: Path, name: str) -> None:
    """Save a figure as `figures/<name>.png` of a run, labelled where the run is SYNTHETIC."""
    if paths.is_synthetic(run):
        figure.text(0.995, 0.005, "SYNTHETIC images", color="#d55e00", ha="right", weight="bold")
    with paths.replacing(run / "figures" / f"{name}.png") as beside:
        figure.savefig(beside)


def samples(grays: list[np.ndarray], rows: pd.DataFrame, columns: int = 6) -> Figure:
    """Show images with their boxes, `columns` a row, each under its file name.

    Parameters
    ----------
    grays
        uint8 arrays (height, width).
    rows
        path, label and boxes of each.
    """
    lines = -(-len(grays) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(2 * columns, 2.25 * lines), squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for ax, gray, row in zip(axes.flat, grays, rows.itertuples(), strict=False):
        show_gray(ax, gray, Path(row.path).stem)
        draw_boxes(ax, row.boxes, row.label)
    return figure


def show_gray(ax, gray: np.ndarray, title: str) -> None:
    """Fill an axis with gray values on the scale 0 to 255."""
    ax.imshow(gray, cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=9)
    ax.axis("off")


def draw_boxes(ax, boxes: list, label: str) -> None:
    """Draw boxes over an image: solid for its own class, dashed and named for another."""
    for name, left, top, right, bottom in boxes:
        own = name == label
        color, line = (BOX, "-") if own else (OTHER_BOX, "--")
        corner, width, height = (left, top), right - left, bottom - top
        ax.add_patch(Rectangle(corner, width, height, fill=False, ec=color, ls=line, lw=1.5))
        if not own:
            ax.text(
                left + 3,
                top + 3,
                name,
                color=color,
                fontsize=7,
                va="top",
                weight="bold",
                clip_on=True,
            )


def class_balance(labels: pd.Series, part: pd.Series) -> Figure:
    """Show how many images of each class each part has."""
    counts = pd.crosstab(labels, part).reindex(columns=list(PARTS), fill_value=0)
    figure, ax = plt.subplots(figsize=(8, 3.2))
    counts.plot.barh(stacked=True, ax=ax, width=0.75)
    for bars in ax.containers:
        ax.bar_label(bars, label_type="center", color="white", fontsize=10)
    ax.set(title="Images by class and part", xlabel="images", ylabel="")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.legend(title="", loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def texture(measures: pd.DataFrame, labels: pd.Series) -> Figure:
    """Show intensity, contrast and roughness by class (as `audit.texture` measures them)."""
    names = {
        "mean": "mean gray value (0-255)",
        "contrast": "standard deviation (gray values)",
        "roughness": "neighbour difference / contrast",
    }
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), sharey=True)
    for ax, (column, title) in zip(axes, names.items(), strict=True):
        sns.boxplot(x=measures[column], y=labels, ax=ax, color="C0", width=0.6, fliersize=2)
        ax.set(title=column.capitalize(), xlabel=title, ylabel="")
    return figure


def history(table: pd.DataFrame, kept: int) -> Figure:
    """Show loss and accuracy by epoch, with the epoch that was kept."""
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6))
    units = {"loss": "nats", "accuracy": "share of images"}
    for ax, (measure, unit) in zip(axes, units.items(), strict=True):
        ax.plot(table["epoch"], table[measure], label="train")
        ax.plot(table["epoch"], table[f"val_{measure}"], ls="--", label="validation")
        ax.axvline(kept, color="0.5", ls=":", label=f"kept: epoch {kept}")
        ax.set(title=measure.capitalize(), xlabel="epoch", ylabel=f"{measure} ({unit})")
        ax.legend()
    axes[0].set_yscale("log")
    return figure


def confusion(counts: pd.DataFrame, title: str) -> Figure:
    """Show a confusion matrix as counts and as rates of the true class."""
    rates = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    side = 1.6 + 0.6 * len(counts)
    figure, axes = plt.subplots(1, 2, figsize=(1.6 * side + 2, side), sharey=True)
    figure.suptitle(title)
    for ax, values, style, name in (
        (axes[0], counts, "d", "images"),
        (axes[1], rates, ".2f", "share of the true class"),
    ):
        sns.heatmap(
            values, annot=True, fmt=style, cmap="Blues", square=True, cbar=False, ax=ax,
            vmin=0, linewidths=0.5, mask=values == 0,
        )  # fmt: skip
        ax.set(title=name, xlabel="predicted class", ylabel="")
        ax.tick_params(axis="x", rotation=40)
        plt.setp(ax.get_xticklabels(), ha="right", rotation_mode="anchor")
    axes[0].set_ylabel("true class")
    return figure


def by_class(table: pd.DataFrame) -> Figure:
    """Show precision, recall and F1 of each class with 95 % intervals (`metrics.by_class`)."""
    size = (12, 0.6 + 0.45 * len(table))
    figure, axes = plt.subplots(1, 3, figsize=size, sharey=True, sharex=True)
    places = np.arange(len(table))
    for ax, measure in zip(axes, ("precision", "recall", "f1"), strict=True):
        low = table[measure] - table[f"{measure}_low"]
        high = table[f"{measure}_high"] - table[measure]
        ax.errorbar(table[measure], places, xerr=[low.clip(0), high.clip(0)], fmt="o", capsize=3)
        ax.set(title=measure.capitalize(), xlabel="value, 95 % interval")
    axes[0].set_yticks(places, table.index)
    axes[0].invert_yaxis()
    return figure


def errors(grays: list[np.ndarray], rows: pd.DataFrame) -> Figure:
    """Show images beside their probabilities (rows of a `metrics.prediction_table`)."""
    chances = rows.filter(like="p_").rename(columns=lambda name: name.removeprefix("p_"))
    size = (9, 2.3 * len(rows))
    figure, axes = plt.subplots(len(rows), 2, figsize=size, squeeze=False, width_ratios=(1, 2))
    for line, (gray, row) in enumerate(zip(grays, rows.itertuples(), strict=True)):
        show_gray(axes[line, 0], gray, Path(row.path).stem)
        values = chances.iloc[line].sort_values()
        colors = [
            BOX if name == row.label else OTHER_BOX if name == row.predicted else "0.75"
            for name in values.index
        ]
        axes[line, 1].barh(values.index, values, color=colors)
        title = f"{row.label} (blue) taken for {row.predicted} (orange)"
        axes[line, 1].set(title=title, xlim=(0, 1.02))
        axes[line, 1].title.set_fontsize(10)
    axes[-1, 1].set_xlabel("probability")
    return figure


def confidence(table: pd.DataFrame) -> Figure:
    """Show the confidence of hits and misses of a `metrics.prediction_table`."""
    hit = (table["label"] == table["predicted"]).map({True: "hit", False: "miss"})
    figure, axes = plt.subplots(2, 1, figsize=(8, 4.4), sharex=True)
    for ax, kind, color in zip(axes, ("hit", "miss"), ("C0", "C1"), strict=True):
        values = table.loc[hit == kind, "confidence"]
        ax.hist(values, bins=np.linspace(0, 1, 41), color=color)
        ax.set(title=f"{'hits' if kind == 'hit' else 'misses'}: {len(values)}", ylabel="images")
        ax.yaxis.get_major_locator().set_params(integer=True)
    axes[1].set_xlabel("confidence (probability of the predicted class)")
    return figure
