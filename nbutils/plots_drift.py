"""Figures of a batch that was inspected."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure


def drift(found: pd.DataFrame) -> Figure:
    """Show each descriptor's shift, in units of what is expected without drift, with the limit.

    Parameters
    ----------
    found
        As `drift.test` returns it.
    """
    limit = found.attrs["limit"]
    places = np.arange(len(found))
    signed = np.sign(found["shift"]) * found["ratio"]
    beyond = found["ratio"] > limit
    figure, ax = plt.subplots(figsize=(9, 0.32 * len(found) + 1.6))
    for chosen, color, label in ((~beyond, "C0", "within the limit"), (beyond, "C1", "beyond it")):
        if chosen.any():
            ax.barh(places[chosen], signed[chosen], color=color, label=label,
                    hatch="//" if color == "C1" else None, edgecolor="white")  # fmt: skip
    for side in (-limit, limit):
        ax.axvline(side, color="0.3", ls="--", lw=1)
    reach = 1.15 * max(limit, found["ratio"].max())
    ax.set(
        title=f"Drift of {found.attrs['images']:,} images from the training images",
        xlabel="shift of the mean, in expected scatter (dashed: limit)",
        xlim=(-reach, reach),
    )
    ax.set_yticks(places, found["descriptor"].str.replace("_", " "))
    ax.invert_yaxis()
    ax.legend(loc="lower right", fontsize=9)
    return figure


def alarms(table: pd.DataFrame) -> Figure:
    """Show how often batches raise an alarm, by what was done to their images.

    Parameters
    ----------
    table
        As `drift_limits.alarms` returns it.
    """
    figure, ax = plt.subplots(figsize=(9, 4))
    changed = table[table["level"] > 0]
    sns.pointplot(
        data=changed, x="level", y="alarms", hue="family", ax=ax, dodge=0.3,
        markers=["o", "s", "^", "D", "v"], linestyles=["-", "--", ":", "-.", "-"],
    )  # fmt: skip
    unchanged = table.loc[table["level"] == 0, "alarms"].iloc[0]
    ax.axhline(unchanged, color="0.3", ls="--", lw=1, label=f"unchanged ({unchanged:.1%})")
    ax.set(
        title="How often batches of test images raise the alarm",
        xlabel="severity", ylabel="share of batches", ylim=(-0.03, 1.03),
    )  # fmt: skip
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
