"""Which model to take for which need, said from the results of a comparison."""

from collections.abc import Iterator

import pandas as pd


def advice(worth: pd.DataFrame, costs: pd.DataFrame) -> str:
    """Say in Markdown which model to take for which need.

    Parameters
    ----------
    worth
        As `protocols.summary` returns it.
    costs
        As `comparison.costs` returns it.
    """
    tables = dict(iter(worth.groupby("protocol", sort=False)))
    main = tables.get("blocked", next(iter(tables.values()))).set_index("model")
    best = [_most_accurate(protocol, rows) for protocol, rows in tables.items()]
    return "\n".join([*best, _cheapest(main, costs), *_price_of_averaging(main, costs)])


def _most_accurate(protocol: str, rows: pd.DataFrame) -> str:
    """Name the best of a protocol; of the learning curve at its fewest images."""
    fewest = rows[rows["per_class"] == rows["per_class"].min()]
    best = fewest.loc[fewest["accuracy"].idxmax()]
    few = f"with {best['per_class']} images of each class"
    return (
        f"- Most accurate {few if protocol == 'curve' else f'under `{protocol}`'}: "
        f"**{best['model']}**, {best['accuracy']:.2%} ({best['low']:.1%} to {best['high']:.1%})."
    )


def _cheapest(main: pd.DataFrame, costs: pd.DataFrame) -> str:
    able = main[main["high"] >= main["accuracy"].max()].index.intersection(costs.index)
    fast, small = costs.loc[able, "one_ms"].idxmin(), costs.loc[able, "file_mb"].idxmin()
    return (
        f"- Among those whose interval reaches the best, **{fast}** answers fastest "
        f"({costs.loc[fast, 'one_ms']:.0f} ms an image) and **{small}** has the smallest file "
        f"({costs.loc[small, 'file_mb']:.1f} MB)."
    )


def _price_of_averaging(main: pd.DataFrame, costs: pd.DataFrame) -> Iterator[str]:
    both = main.index.intersection(costs.index)
    for name in both[[f"{name} x8" in both for name in both]]:
        gain = main.loc[f"{name} x8", "accuracy"] - main.loc[name, "accuracy"]
        times = costs.loc[f"{name} x8", "one_ms"] / costs.loc[name, "one_ms"]
        yield (
            f"- Averaging eight views changes {name} by {100 * gain:+.2f} points and takes "
            f"{times:.1f} times as long."
        )
