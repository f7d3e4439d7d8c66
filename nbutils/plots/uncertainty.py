"""Figures of calibration, prediction sets, the review threshold, and drift."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nbutils.plots.style import (
    GRAY,
    MARKERS,
    complement,
    confidence_axis,
    legend_below,
    log_axis,
    name_rows,
    percent_axis,
)

MIN_IMAGES = 10  # in a bin of confidence whose accuracy is drawn
STEPS = {"before": ("C1", "o", "--"), "after": ("C0", "s", "-")}  # of calibration
TAIL = 2.0  # of conformal quantiles, in shares of images below the least coverage


def reliability(tables: dict[tuple[str, str], pd.DataFrame], model: str) -> Figure:
    """Show accuracy against confidence, and below how many images each bin has.

    A point stands for at least `MIN_IMAGES` images.

    Parameters
    ----------
    tables
        (images, `before` or `after`) -> as `calibration.reliability` returns it.
    model
        Name in the title.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in tables))
    figure, axes = plt.subplots(
        2, len(kinds), figsize=(5 * len(kinds), 6), sharex=True, sharey="row", squeeze=False,
        height_ratios=(3, 1),
    )  # fmt: skip
    figure.suptitle(f"{model}: reliability before and after temperature scaling")
    for top, bottom, kind in zip(*axes, kinds, strict=True):
        top.plot((0, 1), (0, 1), color=GRAY, lw=1, ls=":", label="perfect calibration")
        for step, (color, marker, line) in STEPS.items():
            table = tables[kind, step]
            large = table[table["images"] >= MIN_IMAGES]
            style = {"color": color, "marker": marker, "ls": line, "label": f"{step} calibration"}
            top.plot(large["confidence"], large["accuracy"], **style)
            bottom.plot(table["confidence"], table["images"], **style)
        top.set(title=f"{kind} images", ylim=(-0.03, 1.03))
        bottom.set(xlabel="confidence", yscale="log", xlim=(-0.03, 1.03))
    axes[0, 0].set_ylabel("accuracy")
    axes[1, 0].set_ylabel("images per bin")
    legend_below(figure, axes[0, 0])
    return figure


def temperature(curve: pd.DataFrame, accuracy: float, fitted: float, model: str) -> Figure:
    """Show what temperatures make of log loss and confidence, with the one that was fitted.

    Parameters
    ----------
    curve
        temperature, confidence (mean) and log_loss (nats).
    accuracy
        Of the same images, which mean confidence should equal.
    fitted
        The model's temperature.
    model
        Name in the title.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    figure.suptitle(f"{model}: temperature scaling")
    axes[1].axhline(accuracy, color="C1", ls=":", label=f"accuracy {accuracy:.2%}")
    for ax, measure in zip(axes, ("log_loss", "confidence"), strict=True):
        ax.plot(curve["temperature"], curve[measure])
        ax.axvline(fitted, color=GRAY, ls="--", label=f"fitted on validation images: {fitted:.2f}")
        ax.set(xlabel="temperature (log scale)", xscale="log")
        log_axis(ax.xaxis)
    axes[0].set(title="Log loss", ylabel="log loss (nats)")
    axes[1].set(title="Mean confidence", ylabel="mean confidence")
    percent_axis(axes[1].yaxis)
    legend_below(figure, axes[1])
    return figure


def expected_cost(curve: pd.DataFrame, threshold: float) -> Figure:
    """Show what each threshold of confidence costs, and what share of the images it accepts.

    Parameters
    ----------
    curve
        As `review.expected_cost` returns it: confidence, cost, coverage.
    threshold
        The confidence that was chosen.
    """
    curve = curve.sort_values("confidence")
    least = curve.iloc[curve["cost"].argmin()]
    figure, axes = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, height_ratios=(2, 1))
    for ax, measure in zip(axes, ("cost", "coverage"), strict=True):
        ax.plot(complement(curve["confidence"]), curve[measure], drawstyle="steps-pre")
        ax.axvline(complement(threshold), color=GRAY, ls="--", label=f"threshold {threshold:.4g}")
        ax.plot(complement(least["confidence"]), least[measure], "o", color="C1", ms=9,
                label=f"least cost: {least['cost']:.3g} per image")  # fmt: skip
    confidence_axis(axes[1], complement(curve["confidence"]).min())
    axes[0].set(title="Expected cost by review threshold", ylabel="cost per image", ylim=(0, None))
    axes[1].set(
        title="Images accepted without review", ylabel="share accepted", ylim=(-0.04, 1.04),
        xlabel="threshold of confidence (log scale of 1 - confidence)",
    )  # fmt: skip
    percent_axis(axes[1].yaxis)
    legend_below(figure, axes[0])
    return figure


def risk(tables: dict[str, pd.DataFrame], confidence: float, model: str) -> Figure:
    """Show the errors among accepted predictions, by the share accepted, with the threshold.

    Parameters
    ----------
    tables
        Name of the images -> as `review.risk_coverage` returns it.
    confidence
        The review threshold.
    model
        Name in the title.
    """
    figure, ax = plt.subplots(figsize=(8, 4.6))
    for number, (name, table) in enumerate(tables.items()):
        line = ("-", "--", ":")[number % 3]
        ax.plot(table["coverage"], table["risk"], color=f"C{number}", ls=line,
                label=f"{name} images")  # fmt: skip
        chosen = table[table["confidence"] >= confidence].tail(1)
        label = f"{name} images at confidence {confidence:.4g}"
        ax.plot(chosen["coverage"], chosen["risk"], MARKERS[number], ms=9, color=f"C{number}",
                label=label)  # fmt: skip
    ax.set(
        title=f"{model}: errors among accepted predictions of the test images",
        xlabel="predictions accepted, highest confidence first",
        ylabel="wrong among accepted",
    )
    percent_axis(ax.xaxis)
    percent_axis(ax.yaxis)
    legend_below(figure, ax, columns=2)
    return figure


def conformal_quantile(true_probabilities: np.ndarray, thresholds: dict[str, float]) -> Figure:
    """Show how often the true class has less than a probability, with the conformal thresholds.

    Parameters
    ----------
    true_probabilities
        That calibration images give to their own class: (images,).
    thresholds
        As `conformal.conformal_thresholds` returns them.
    """
    values = np.sort(true_probabilities)
    share = np.arange(1, len(values) + 1) / len(values)
    missed = {target: 1 - float(target) / 100 for target in thresholds}
    figure, ax = plt.subplots(figsize=(8, 4.6))
    ax.plot(values, share, drawstyle="steps-post", label=f"{len(values)} calibration images")
    for number, (target, threshold) in enumerate(thresholds.items(), 1):
        ax.axhline(missed[target], color=f"C{number}", ls=":", lw=1)
        ax.plot(threshold, missed[target], MARKERS[number], color=f"C{number}", ms=8, clip_on=False,
                label=f"{target} % coverage: {threshold:.3g}")  # fmt: skip
    ax.set(
        title="Conformal thresholds: low quantiles of the probability of the true class",
        xlabel="probability of the true class", ylabel="images below it",
        xlim=(-0.02, 1.02), ylim=(0, TAIL * max(missed.values())),
    )  # fmt: skip
    percent_axis(ax.yaxis)
    legend_below(figure, ax, columns=2)
    return figure


def coverage(table: pd.DataFrame, model: str) -> Figure:
    """Show how often prediction sets hold the true class, against the target, and their size.

    Parameters
    ----------
    table
        As `robustness.coverage_table` returns it.
    model
        Name in the title.
    """
    kinds = list(dict.fromkeys(table["images"]))
    names = list(dict.fromkeys(table["class"]))
    targets = sorted(table["target_coverage"].unique())
    size = (1.5 + 4.5 * len(kinds), 2.4 + 0.42 * len(names))
    figure, axes = plt.subplots(
        1, len(kinds), figsize=size, sharey=True, sharex=True, squeeze=False
    )
    figure.suptitle(f"{model}: coverage of the prediction sets of the test images")
    for ax, kind in zip(axes[0], kinds, strict=True):
        sizes = []
        for number, target in enumerate(targets):
            rows = table[(table["images"] == kind) & (table["target_coverage"] == target)]
            rows = rows.set_index("class").loc[names]
            places = np.arange(len(names)) + 0.24 * (number - (len(targets) - 1) / 2)
            color = f"C{number}"
            ax.axvline(target / 100, color=color, ls=":")
            ax.plot(rows["coverage"], places, MARKERS[number], color=color, ms=6,
                    label=f"target {target} % (dotted)")  # fmt: skip
            sizes.append(f"{rows.loc['all', 'size']:.2f}")
        ax.set(title=f"{kind} images\nmean set size {', '.join(sizes)}",
               xlabel="share of sets that hold the true class")  # fmt: skip
        percent_axis(ax.xaxis)
    name_rows(axes[0, 0], names)
    legend_below(figure, axes[0, 0])
    return figure


def drift(result: pd.DataFrame) -> Figure:
    """Show each descriptor's shift, in units of what is expected without drift, with the limit.

    Parameters
    ----------
    result
        As `drift.test_batch` returns it.
    """
    limit = result.attrs["limit"]
    places = np.arange(len(result))
    signed = np.sign(result["shift"]) * result["ratio"]
    beyond = result["ratio"] > limit
    figure, ax = plt.subplots(figsize=(9, 0.32 * len(result) + 1.8))
    for chosen, color, label in ((~beyond, "C0", "within the limit"), (beyond, "C1", "beyond it")):
        if chosen.any():
            ax.barh(places[chosen], signed[chosen], color=color, label=label,
                    hatch="//" if color == "C1" else None, edgecolor="white")  # fmt: skip
    for side, label in ((-limit, f"limit {limit:.1f}"), (limit, "")):
        ax.axvline(side, color=GRAY, ls="--", lw=1, label=label)
    reach = 1.15 * max(limit, result["ratio"].max())
    ax.set(
        title=f"Drift of {result.attrs['images']:,} images from the training images",
        xlabel="shift of the mean (expected standard deviations)",
        xlim=(-reach, reach),
    )
    name_rows(ax, result["descriptor"].str.replace("_", " "))
    legend_below(figure, ax)
    return figure
