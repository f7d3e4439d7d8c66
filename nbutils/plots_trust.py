"""Figures of calibration, conformal sets, risk, and novelty."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

LEAST = 10  # images whose accuracy is worth a point
STEPS = {"before": ("C1", "o", "--"), "after": ("C0", "s", "-")}  # of calibration


def reliability(tables: dict[tuple[str, str], pd.DataFrame], model: str) -> Figure:
    """Show accuracy against confidence, and below how many images lie where.

    A point stands for at least `LEAST` images.

    Parameters
    ----------
    tables
        (images, `before` or `after`) -> as `calibration.reliability` returns it.
    model
        Name in the title.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in tables))
    figure, axes = plt.subplots(
        2, len(kinds), figsize=(5 * len(kinds), 5.6), sharex=True, squeeze=False,
        height_ratios=(3, 1),
    )  # fmt: skip
    figure.suptitle(f"{model}: is it as sure as it is right?")
    for top, bottom, kind in zip(*axes, kinds, strict=True):
        top.plot((0, 1), (0, 1), color="0.6", lw=1, label="as sure as right")
        for step, (color, marker, line) in STEPS.items():
            table = tables[kind, step]
            enough = table[table["images"] >= LEAST]
            top.plot(
                enough["confidence"], enough["accuracy"], color=color, marker=marker, ls=line,
                label=f"{step} calibration",
            )  # fmt: skip
            bottom.plot(table["confidence"], table["images"], color=color, marker=marker, ls=line)
        top.set(title=f"{kind} images", ylabel="accuracy", ylim=(-0.03, 1.03))
        bottom.set(xlabel="confidence", ylabel="images", yscale="log")
    axes[0, 0].legend(loc="upper left")
    return figure


def risk(tables: dict[str, pd.DataFrame], confidence: float, model: str) -> Figure:
    """Show the risk of accepting only the surest answers, with the point that was chosen.

    Parameters
    ----------
    tables
        Name of the images -> as `limits.risk_coverage` returns it.
    confidence
        Below which a person looks.
    model
        Name in the title.
    """
    figure, ax = plt.subplots(figsize=(8, 4))
    for at, (name, table) in enumerate(tables.items()):
        line = ax.plot(
            100 * table["coverage"], 100 * table["risk"], ls=("-", "--")[at % 2], label=name
        )
        chosen = table[table["confidence"] >= confidence].tail(1)
        ax.plot(
            100 * chosen["coverage"], 100 * chosen["risk"], "o", ms=9, color=line[0].get_color()
        )
    ax.set(
        title=f"{model}: errors among accepted answers (dot: chosen on validation images)",
        xlabel="answers accepted, surest first (%)",
        ylabel="wrong among them (%)",
    )
    ax.legend(title="test images")
    return figure


def coverage(table: pd.DataFrame, model: str) -> Figure:
    """Show how often sets hold the true class, against the promise, and how large they are.

    Parameters
    ----------
    table
        As `robustness.coverage` returns it.
    model
        Name in the title.
    """
    kinds = list(dict.fromkeys(table["images"]))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(6.5 * len(kinds), 5), sharey=True, sharex=True, squeeze=False
    )
    figure.suptitle(f"{model}: conformal sets of the test images")
    levels = sorted(table["level"].unique())
    names = list(dict.fromkeys(table["class"]))
    for ax, kind in zip(axes.flat, kinds, strict=True):
        for at, level in enumerate(levels):
            rows = table[(table["images"] == kind) & (table["level"] == level)]
            rows = rows.set_index("class").loc[names]
            places = np.arange(len(names)) + 0.25 * (at - 1)
            ax.plot(rows["coverage"], places, "os^"[at % 3], color=f"C{at}",
                    label=f"promised {level} %, size {rows.loc['all', 'size']:.2f}")  # fmt: skip
            ax.axvline(level / 100, color=f"C{at}", ls=":", lw=1)
        ax.set(title=f"{kind} images", xlabel="share of sets that hold the true class")
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=9)
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].invert_yaxis()
    return figure


def novelty(table: pd.DataFrame, limit: float, model: str) -> Figure:
    """Show the novelty of groups of images, with the limit.

    Parameters
    ----------
    table
        group and novelty.
    limit
        Above which a person looks.
    model
        Name in the title.
    """
    groups = list(dict.fromkeys(table["group"]))
    figure, ax = plt.subplots(figsize=(9, 0.9 + 0.42 * len(groups)))
    sns.boxplot(
        data=table, x="novelty", y="group", ax=ax, color="C0", width=0.6, fliersize=2, order=groups
    )
    ax.axvline(limit, color="C1", ls="--", label=f"limit {limit:.2f}")
    ax.set(title=f"{model}: how unlike the training images", xscale="log", ylabel="")
    ax.set_xticks((0.5, 1, 2, 3, 5, 10), ("0.5", "1", "2", "3", "5", "10"))
    ax.minorticks_off()
    ax.set_xlabel("novelty (about 1 for images like those of training)")
    ax.legend(loc="lower right")
    return figure


def left_out(table: pd.DataFrame) -> Figure:
    """Show how well each score tells a class apart that training left out.

    Parameters
    ----------
    table
        left_out, score and auroc.
    """
    grid = table.pivot_table("auroc", "score", "left_out", sort=False)
    grid["mean"] = grid.mean(axis=1)
    figure, ax = plt.subplots(figsize=(12, 1.2 + 0.5 * len(grid)))
    sns.heatmap(
        grid, annot=True, fmt=".3f", cmap="cividis", vmin=0.5, vmax=1, cbar=False, linewidths=0.5,
        ax=ax,
    )  # fmt: skip
    ax.set(title="AUROC of telling the class left out from the others", xlabel="", ylabel="")
    return figure
