"""Figures of calibration, prediction sets, the review threshold, and drift."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nbutils.plots import style

MIN_IMAGES = 10  # in a bin of confidence whose accuracy is drawn
STEPS = {"before": ("C1", "o", "--"), "after": ("C0", "s", "-")}  # of calibration
TAIL = 2.0  # of conformal quantiles, in shares of images below the least coverage


def reliability(tables: dict[tuple[str, str], pd.DataFrame], model: str) -> Figure:
    """Show accuracy against confidence, and below how many images each bin has.

    A point stands for at least `MIN_IMAGES` images. `tables` holds what `calibration.reliability`
    returns, by (images, `before` or `after`).
    """
    kinds = list(dict.fromkeys(kind for kind, _ in tables))
    figure, axes = plt.subplots(
        2, len(kinds), figsize=(5 * len(kinds), 6), sharex=True, sharey="row", squeeze=False,
        height_ratios=(3, 1),
    )  # fmt: skip
    figure.suptitle(f"{model}: reliability before and after temperature scaling")
    for top, bottom, kind in zip(*axes, kinds, strict=True):
        top.plot((0, 1), (0, 1), color=style.GRAY, lw=1, ls=":", label="perfect calibration")
        for step, (color, marker, dash) in STEPS.items():
            table = tables[kind, step]
            large = table[table["images"] >= MIN_IMAGES]
            line = {"color": color, "marker": marker, "ls": dash, "label": f"{step} calibration"}
            top.plot(large["confidence"], large["accuracy"], **line)
            bottom.plot(table["confidence"], table["images"], **line)
        top.set(title=f"{kind} images", ylim=(-0.03, 1.03))
        bottom.set(xlabel="confidence", yscale="log", xlim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("images per bin")
    style.legend_below(figure, axes[0, 0])
    return figure


def temperature(curve: pd.DataFrame, accuracy: float, fitted: float, model: str) -> Figure:
    """Show what temperatures make of log loss and confidence, with the one that was fitted.

    `curve` has temperature, confidence (mean) and log_loss (nats) of images, and `accuracy` is that
    of the same images, which mean confidence should equal.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    figure.suptitle(f"{model}: temperature scaling")
    axes[1].axhline(accuracy, color="C1", ls=":", label=f"accuracy {accuracy:.2%}")
    for ax, measure in zip(axes, ("log_loss", "confidence"), strict=True):
        ax.plot(curve["temperature"], curve[measure])
        label = f"fitted on validation images: {fitted:.2f}"
        ax.axvline(fitted, color=style.GRAY, ls="--", label=label)
        ax.set(xlabel="temperature (log scale)", xscale="log")
        style.log_axis(ax.xaxis)
    axes[0].set(title="Log loss", ylabel="log loss (nats)")
    axes[1].set(title="Mean confidence", ylabel="mean confidence")
    style.percent_axis(axes[1].yaxis)
    style.legend_below(figure, axes[1])
    return figure


def expected_cost(curve: pd.DataFrame, threshold: float) -> Figure:
    """Show cost and share accepted by threshold (`review.expected_cost`), with the one chosen."""
    least = curve.iloc[curve["cost"].argmin()]  # of several, the one `optimal_threshold` takes
    curve = curve.sort_values("confidence")
    name = f"threshold {threshold:.4g}" if threshold <= 1 else "threshold: accept none"
    figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, height_ratios=(2, 1))
    for ax, measure in zip(axes, ("cost", "coverage"), strict=True):
        ax.plot(style.complement(curve["confidence"]), curve[measure], drawstyle="steps-pre")
        ax.axvline(style.complement(threshold), color=style.GRAY, ls="--", label=name)
        ax.plot(style.complement(least["confidence"]), least[measure], "o", color="C1", ms=9,
                label=f"least cost: {least['cost']:.3g} per image")  # fmt: skip
    reached = curve["confidence"][curve["confidence"] <= 1]
    style.confidence_axis(axes[1], style.complement(reached).min())
    axes[0].set(title="Expected cost by review threshold", ylabel="cost per image", ylim=(0, None))
    axes[1].set(
        title="Images accepted without review", ylabel="share accepted", ylim=(-0.04, 1.04),
        xlabel="threshold of confidence (log scale of 1 - confidence)",
    )  # fmt: skip
    style.percent_axis(axes[1].yaxis)
    style.legend_below(figure, axes[0])
    return figure


def risk(tables: dict[str, pd.DataFrame], confidence: float, model: str) -> Figure:
    """Show the errors among accepted predictions, by the share accepted, with the threshold.

    `tables` holds what `review.risk_coverage` returns, by the name of the images; `confidence` is
    the threshold.
    """
    figure, ax = plt.subplots(figsize=(8, 4.6))
    for number, (name, table) in enumerate(tables.items()):
        color, line = f"C{number}", ("-", "--", ":")[number % 3]
        chosen = table[table["confidence"] >= confidence].tail(1)
        ax.plot(table["coverage"], table["risk"], color=color, ls=line, label=f"{name} images")
        if len(chosen):
            ax.plot(chosen["coverage"], chosen["risk"], style.MARKERS[number], ms=9, color=color,
                    label=f"{name} images at confidence {confidence:.4g}")  # fmt: skip
    ax.set(title=f"{model}: errors among accepted predictions of the test images",
           xlabel="predictions accepted, highest confidence first",
           ylabel="wrong among accepted")  # fmt: skip
    style.percent_axis(ax.xaxis)
    style.percent_axis(ax.yaxis)
    style.legend_below(figure, ax, columns=2)
    return figure


def conformal_quantile(true_probabilities: np.ndarray, thresholds: dict[str, float]) -> Figure:
    """Show how often the true class has less than a probability, with the conformal thresholds.

    `true_probabilities` (images,) are those that calibration images give to their own class.
    """
    missed = {target: 1 - float(target) / 100 for target in thresholds}
    figure, ax = plt.subplots(figsize=(8, 4.6))
    ax.ecdf(true_probabilities, label=f"{len(true_probabilities)} calibration images")
    for number, (target, threshold) in enumerate(thresholds.items(), 1):
        color = f"C{number}"
        ax.axhline(missed[target], color=color, ls=":", lw=1)
        ax.plot(threshold, missed[target], style.MARKERS[number], color=color, ms=8, clip_on=False,
                label=f"{target} % coverage: {threshold:.3g}")  # fmt: skip
    ax.set(
        title="Conformal thresholds: low quantiles of the probability of the true class",
        xlabel="probability of the true class", ylabel="images below it",
        xlim=(-0.02, 1.02), ylim=(0, TAIL * max(missed.values())),
    )  # fmt: skip
    style.percent_axis(ax.yaxis)
    style.legend_below(figure, ax, columns=2)
    return figure


def coverage(table: pd.DataFrame, model: str) -> Figure:
    """Show how often prediction sets hold the true class, and their size (`coverage_table`)."""
    kinds, names = table["images"].unique(), table["class"].unique()
    targets = sorted(table["target_coverage"].unique())
    figure, axes = plt.subplots(
        1, len(kinds), figsize=(1.5 + 4.5 * len(kinds), 2.4 + 0.42 * len(names)),
        sharey=True, sharex=True, squeeze=False,
    )  # fmt: skip
    figure.suptitle(f"{model}: coverage of the prediction sets of the test images")
    for ax, kind in zip(axes[0], kinds, strict=True):
        sizes = []
        for number, target in enumerate(targets):
            rows = table[(table["images"] == kind) & (table["target_coverage"] == target)]
            rows = rows.set_index("class").loc[names]
            places = np.arange(len(names)) + 0.24 * (number - (len(targets) - 1) / 2)
            color = f"C{number}"
            ax.axvline(target / 100, color=color, ls=":")
            ax.plot(rows["coverage"], places, style.MARKERS[number], color=color, ms=6,
                    label=f"target {target} % (dotted)")  # fmt: skip
            sizes.append(f"{rows.loc['all', 'size']:.2f}")
        ax.set(title=f"{kind} images\nmean set size {', '.join(sizes)}",
               xlabel="share of sets that hold the true class")  # fmt: skip
        style.percent_axis(ax.xaxis)
    style.name_rows(axes[0, 0], names)
    style.legend_below(figure, axes[0, 0])
    return figure


def drift(changes: dict[str, float], limit: float, images: int) -> Figure:
    """Show how far a batch of images has changed (`DriftTest.changes`), with the limit."""
    signed, places = np.array(list(changes.values())), np.arange(len(changes))
    beyond = np.abs(signed) > limit
    figure, ax = plt.subplots(figsize=(9, 0.32 * len(changes) + 1.8))
    for chosen, color, hatch, label in (
        (~beyond, "C0", None, "within the limit"), (beyond, "C1", "//", "beyond it"),
    ):  # fmt: skip
        if chosen.any():
            ax.barh(places[chosen], signed[chosen], color=color, hatch=hatch, label=label,
                    edgecolor="white")  # fmt: skip
    for side, label in ((-limit, f"limit {limit:.1f}"), (limit, "")):
        ax.axvline(side, color=style.GRAY, ls="--", lw=1, label=label)
    reach = 1.15 * max(limit, np.abs(signed).max())
    ax.set(title=f"Drift of {images:,} images from the training images",
           xlabel="shift of the mean (expected standard deviations)",
           xlim=(-reach, reach))  # fmt: skip
    style.name_rows(ax, list(changes))
    style.legend_below(figure, ax)
    return figure
