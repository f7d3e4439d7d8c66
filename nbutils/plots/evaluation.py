"""Figures of what models do on test images: errors, comparison, robustness, open set, maps."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nbutils.data import corruptions
from nbutils.plots import style

LEARNING_CURVE = "learning_curve"
PROTOCOLS = {
    "fixed": "fixed split",
    "blocked": "blocked 5-fold",
    "repeated_holdout": "repeated holdout",
}
N_BARS = 8  # classes of an image whose probabilities are shown


def confusion(counts: pd.DataFrame, title: str) -> Figure:
    """Show the counts of `metrics.confusion`, coloured by their share of the true class."""
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    side = 2.5 + max(0.27, 0.8 - 0.04 * len(counts)) * len(counts)
    figure, ax = plt.subplots(figsize=(side + 2.5, side))
    norm = PowerNorm(0.4, 0, 1)  # one error among many hits is seen
    style.heatmap(ax, shares, counts.astype(str).where(counts > 0, ""), cmap="Blues", norm=norm)
    ax.set(title=title, xlabel="predicted class", ylabel="true class", aspect="equal")
    bar = figure.colorbar(ax.collections[0], ax=ax, label="share of the true class", shrink=0.8)
    shown = (0, 0.01, 0.1, 0.25, 0.5, 1)
    bar.set_ticks(shown, labels=[f"{share:.0%}" for share in shown])
    for spine in ax.spines.values():
        spine.set(visible=True, color="0.8")
    return figure


def by_class(table: pd.DataFrame) -> Figure:
    """Show precision, recall and F1 of each class with 95 % intervals (`metrics.by_class`)."""
    size = (12, 1.4 + 0.36 * len(table))
    figure, axes = plt.subplots(1, 3, figsize=size, sharey=True, sharex=True)
    for ax, measure in zip(axes, ("precision", "recall", "f1"), strict=True):
        style.plot_intervals(ax, table, measure, measure.capitalize(), "value")
    return figure


def errors(grays: list[np.ndarray], rows: pd.DataFrame) -> Figure:
    """Show images, uint8 (height, width), beside the largest probabilities of `predictions.csv`."""
    probabilities = rows.filter(regex="^p_").rename(columns=lambda name: name.removeprefix("p_"))
    bars = min(N_BARS, probabilities.shape[1])
    size = (9.5, (1 + 0.24 * bars) * len(rows) + 0.8)
    figure, axes = plt.subplots(len(rows), 2, figsize=size, squeeze=False, width_ratios=(1, 2))
    figure.suptitle("Wrong predictions and their probabilities")
    for (left, right), gray, row, (_, values) in zip(
        axes, grays, rows.to_dict("records"), probabilities.iterrows(), strict=True
    ):
        style.show_gray(left, gray, style.shorten(Path(row["path"]).stem))
        largest = values.nlargest(bars)
        colors = {row["label"]: style.BOX, row["predicted"]: style.OTHER_BOX}
        right.barh(range(bars), largest, color=[colors.get(name, "0.75") for name in largest.index])
        title = f"{style.shorten(row['label'])} predicted as {style.shorten(row['predicted'])}"
        right.set_title(title, fontsize=10)
        right.set(xlim=(0, 1.02), xlabel="probability")
        style.name_rows(right, largest.index)
        right.grid(axis="y", visible=False)
    patches = [Patch(color=style.BOX), Patch(color=style.OTHER_BOX)]
    names = ["true class", "predicted class"]
    figure.legend(patches, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def confidence(table: pd.DataFrame, threshold: float | None = None) -> Figure:
    """Show the confidence of each prediction, the wrong ones on top.

    `table` has label, predicted and confidence; below the threshold, which may lie above all
    confidence, a prediction is reviewed.
    """
    correct = table["label"] == table["predicted"]
    figure, ax = plt.subplots(figsize=(9, 3.6))
    for row, kind, color, marker in ((0, ~correct, style.OTHER_BOX, "X"), (1, correct, "C0", "o")):
        spread = 0.6 * (np.arange(kind.sum()) * 0.618 % 1 - 0.5)  # even, and the same each time
        ax.plot(style.complement(table["confidence"][kind]), row + spread, marker, color=color,
                ms=8 - 3 * row, mec="white", mew=0.4, alpha=0.8)  # fmt: skip
    style.confidence_axis(ax, style.complement(table["confidence"]).min())
    ax.set_title(f"Confidence of the predictions of {len(table)} images")
    style.name_rows(ax, [f"wrong ({(~correct).sum()})", f"correct ({correct.sum()})"])
    if threshold is not None and threshold <= 1:
        label = f"review threshold {threshold:.4g}: left of it, a person looks"
        ax.axvline(style.complement(threshold), color=style.GRAY, ls="--", label=label)
        style.legend_below(figure, ax)
    elif threshold is not None:
        ax.set_title(f"{ax.get_title()}, all of which a person looks at")
    return figure


def accuracies(table: pd.DataFrame) -> Figure:
    """Show each model's accuracy with its interval by protocol (`protocols.summarize`)."""
    table = table[table["protocol"] != LEARNING_CURVE]  # which has a figure of its own
    table = table.rename(columns={"low": "accuracy_low", "high": "accuracy_high"})
    protocols, models = table["protocol"].unique(), table["model"].unique()
    size = (max(4 * len(protocols) + 2, 7), 1.5 + 0.5 * len(models))
    figure, axes = plt.subplots(1, len(protocols), figsize=size, sharey=True, squeeze=False)
    figure.suptitle("Accuracy of the models by protocol")
    for ax, protocol in zip(axes[0], protocols, strict=True):
        rows = table[table["protocol"] == protocol].set_index("model").reindex(models)
        style.plot_intervals(ax, rows, "accuracy", PROTOCOLS[protocol], "accuracy")
        for place, value in enumerate(rows["accuracy"]):
            if not np.isnan(value):
                ax.annotate(f"{value:.2%}", (value, place), (0, 5), textcoords="offset points",
                            ha="center", fontsize=9)  # fmt: skip
        ax.margins(x=0.15)
    return figure


def learning_curve(table: pd.DataFrame) -> Figure:
    """Show the accuracy by the number of training images of each class (`protocols.summarize`)."""
    rows = table[table["protocol"] == LEARNING_CURVE].sort_values("n_per_class", kind="stable")
    figure, ax = plt.subplots(figsize=(9, 5))
    for number, (model, line) in enumerate(rows.groupby("model", sort=False)):
        marker = style.MARKERS[number % len(style.MARKERS)]
        x, low, high = line["n_per_class"], line["low"], line["high"]
        ax.plot(x, line["accuracy"], color=f"C{number}", label=model, marker=marker)
        ax.fill_between(x, low, high, color=f"C{number}", alpha=0.15, lw=0)
    counts = rows["n_per_class"].unique()
    ax.set_xscale("log")
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
    style.percent_axis(ax.yaxis)
    ax.set(title="Learning curve on the test part (bands: 95 % intervals)", ylabel="accuracy",
           xlabel="training images of each class, at most (log scale)")  # fmt: skip
    style.label_lines(figure, ax)
    return figure


def cost(table: pd.DataFrame) -> Figure:
    """Show accuracy against the time of one prediction, each model named with its file's size.

    The line joins the models that no other beats in both. `table` has the index model and the
    columns accuracy, protocol (that it was measured by), latency_ms and file_mb.
    """
    table = table.dropna(subset=["accuracy", "latency_ms"])
    figure, ax = plt.subplots(figsize=(9, 5))
    ordered = table.sort_values(["latency_ms", "accuracy"], ascending=[True, False])
    front = ordered[ordered["accuracy"] > ordered["accuracy"].cummax().shift(fill_value=-1)]
    ax.plot(front["latency_ms"], front["accuracy"], drawstyle="steps-post", label="Pareto front",
            color=style.GRAY, ls=":")  # fmt: skip
    for number, (protocol, rows) in enumerate(table.groupby("protocol", sort=False)):
        ax.plot(rows["latency_ms"], rows["accuracy"], style.MARKERS[number], color=f"C{number}",
                ms=9, label=f"accuracy by {PROTOCOLS[str(protocol)]}")  # fmt: skip
    ax.set(title="Accuracy against latency (size of the model's file in brackets)", xscale="log",
           xlabel="latency of one image, from bytes to prediction (ms, log scale)",
           ylabel="accuracy")  # fmt: skip
    style.log_axis(ax.xaxis)
    style.percent_axis(ax.yaxis)
    ax.margins(0.2, 0.15)
    style.legend_below(figure, ax)
    names = [f"{row.Index} ({row.file_mb:.1f} MB)" for row in table.itertuples()]
    style.label_points(figure, ax, table[["latency_ms", "accuracy"]].to_numpy(), names)
    return figure


def robustness(table: pd.DataFrame, model: str) -> Figure:
    """Show accuracy, and confidence minus accuracy, by `robustness.by_condition`."""
    names = {
        family: family.replace("_", " ") + " *" * (family in corruptions.HELD_OUT)
        for family in corruptions.FAMILIES
    }
    rows = table[table["family"].isin(names)].replace({"family": names})
    rows["gap"] = rows["confidence"] - rows["accuracy"]
    figure, axes = plt.subplots(1, 2, figsize=(11, 1.8 + 0.32 * len(names)), sharey=True)
    figure.suptitle(f"{model} on corrupted test images (*: family not in training)")
    for ax, value, title, colors in (
        (axes[0], "accuracy", "Accuracy", {"cmap": "cividis", "vmin": 0.5, "vmax": 1}),
        (axes[1], "gap", "Confidence - accuracy", {"cmap": "vlag", "vmin": -0.5, "vmax": 0.5}),
    ):
        grid = rows.pivot_table(value, "family", "severity", sort=False)
        grid.columns = [f"{severity:g}" for severity in grid.columns]
        style.heatmap(ax, grid, (grid.round(2) + 0.0).map("{:.2f}".format), **colors)  # no -0.00
        ax.set(title=title, xlabel="severity", ylabel="")
    return figure


def novelty_groups(table: pd.DataFrame, threshold: float, model: str) -> Figure:
    """Show the novelty of groups of images, with the threshold.

    `table` has the columns group and novelty; above the threshold a person looks.
    """
    groups = table["group"].unique()
    figure, ax = plt.subplots(figsize=(9, 1.8 + 0.42 * len(groups)))
    sns.boxplot(
        table, x="novelty", y="group", order=groups, ax=ax, color="C0", width=0.6, fliersize=2
    )
    ax.axvline(threshold, color=style.OTHER_BOX, ls="--", label=f"threshold {threshold:.2f}")
    ax.set(title=f"{model}: novelty by group of images", xscale="log", ylabel="",
           xlabel="novelty (mostly below 1 for images like those of training)")  # fmt: skip
    style.log_axis(ax.xaxis)
    style.name_rows(ax, groups)
    style.legend_below(figure, ax)
    return figure


def leave_one_class_out(table: pd.DataFrame) -> Figure:
    """Show how well each score separates a class that training left out from the others.

    `table` has the columns held_out_class, score and auroc.
    """
    grid = table.pivot_table("auroc", "score", "held_out_class", sort=False)
    grid["mean"] = grid.mean(axis=1)
    figure, ax = plt.subplots(figsize=(5 + 0.9 * grid.shape[1], 2 + 0.45 * len(grid)))
    style.heatmap(ax, grid, grid.map("{:.3f}".format), cmap="cividis", vmin=0.5, vmax=1)
    ax.set(title="AUROC of the held-out class against the others", xlabel="held-out class",
           ylabel="")  # fmt: skip
    return figure


def drift_detection(table: pd.DataFrame) -> Figure:
    """Show how often batches raise the drift alarm, as `robustness.drift_detection_rates` tells."""
    unchanged = table.loc[table["severity"] == 0, "detection_rate"].mean()
    changed = table[table["severity"] > 0]
    grid = changed.pivot_table("detection_rate", "family", "severity", sort=False)
    grid.index = grid.index.str.replace("_", " ")
    figure, ax = plt.subplots(figsize=(7.5, 1.7 + 0.42 * len(grid)))
    style.heatmap(ax, grid, grid.map("{:.1%}".format), cmap="cividis", vmin=0, vmax=1)
    ax.set(title=f"Batches that raise the drift alarm (unchanged images: {unchanged:.1%})",
           xlabel="severity of the change", ylabel="")  # fmt: skip
    return figure


def localization(table: pd.DataFrame, title: str) -> Figure:
    """Show how often, and how much of, maps lie in boxes, as `localization.summarize` tells."""
    size = (11, 2 + 0.36 * len(table))
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True)
    figure.suptitle(title)
    names = {"pointing": "Maximum of the map in a box", "energy": "Share of the map in boxes"}
    for ax, (measure, name) in zip(axes, names.items(), strict=True):
        style.plot_intervals(ax, table, measure, name, "share")
        ax.plot(table["coverage"], np.arange(len(table)), "|", color=style.OTHER_BOX, ms=14, mew=2,
                label="share of the image in boxes: what chance would give")  # fmt: skip
        ax.set_xlim(0, 1.02)
    style.legend_below(figure, axes[0])
    return figure
