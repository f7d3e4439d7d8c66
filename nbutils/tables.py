"""The README's tables of what the shipped models are worth, and what they cost, as Markdown."""

from pathlib import Path

import pandas as pd

MODELS = ("mobilenet_v2", "custom_cnn")  # runs that are shipped


def results(reference: Path) -> str:
    """Return the comparison's accuracies and costs."""
    worth = pd.read_csv(reference / "comparison" / "worth.csv")
    costs = pd.read_csv(reference / "comparison" / "costs.csv").set_index("model")
    names = list(dict.fromkeys(worth["model"]))
    heads = [
        "fixed split",
        "blocked 5-fold",
        "half of each class",
        "10 a class",
        "one image",
        "file",
    ]
    lines = [f"| model | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in names:
        rows = worth[worth["model"] == name]
        cells = [_accuracy(rows, protocol) for protocol in ("fixed", "blocked", "halves")]
        cells.append(_accuracy(rows[rows["per_class"] == 10], "curve"))
        if name in costs.index:
            cost = costs.loc[name]
            cells += [f"{cost['one_ms']:.0f} ms", f"{cost['file_mb']:.1f} MB"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def trust(reference: Path) -> str:
    """Return what the shipped models are worth off the clean test part."""
    tables = {
        name: pd.read_csv(reference / "robustness" / f"{name}.csv")
        for name in ("robustness_summary", "calibration")
    }
    worth = tables["robustness_summary"].set_index("model")
    after = tables["calibration"].query("calibration == 'after'").set_index(["model", "images"])
    heads = [
        *("clean", "all corruptions", "families left out", "30 dB", "20 dB"),
        *("ECE clean, corrupted", "clean accepted", "brightest point in box", "map in boxes"),
    ]
    lines = [f"| model | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in MODELS:
        row = worth.loc[name]
        keys = ("clean", "all families", "families left out", "30 dB", "20 dB")
        cells = [f"{row[key]:.1%}" for key in keys]
        ece = (after.loc[(name, images), "ece"] for images in ("clean", "corrupted"))
        cells += [", ".join(f"{value:.1%}" for value in ece), f"{1 - row['reviewed clean']:.1%}"]
        maps = pd.read_csv(reference / name / "cam_classes.csv").set_index("label").loc["all"]
        low, high = maps["pointing_low"], maps["pointing_high"]
        cells += [f"{maps['pointing']:.1%} ({low:.1%}-{high:.1%})", f"{maps['energy']:.1%}"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def speed(reference: Path) -> str:
    """Return what a shipped model costs in each of its forms."""
    times = pd.read_csv(reference / MODELS[0] / "bench.csv").set_index("kind")
    forms = pd.read_csv(reference / MODELS[0] / "export.csv").set_index("network")
    heads = [
        *("one image", "times faster", "in batches", "times faster", "cold start", "memory"),
        *("accuracy", "largest difference", "file"),
    ]
    lines = [f"| `{MODELS[0]}` by | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for kind, row in times.iterrows():
        cells = [
            f"{row['one_ms']:.2f} ± {row['one_spread']:.2f} ms", f"{row['one_ratio']:.0f}",
            f"{1000 / row['batch_ms']:.0f} a second", f"{row['batch_ratio']:.0f}",
            f"{row['cold_s']:.2f} s", f"{row['memory_mb']:.0f} MB",
        ]  # fmt: skip
        form = forms.loc[kind] if kind in forms.index else None
        cells += ["", "", ""] if form is None else [
            f"{form['accuracy']:.2%}", f"{form['difference']:.2g}", f"{form['size_mb']:.1f} MB"
        ]  # fmt: skip
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def inspection(reference: Path) -> str:
    """Return what batch inspections cost."""
    lines = [
        "| images | workers | all of it | judging alone | memory | of the workers |",
        "|---" * 6 + "|",
    ]
    for row in pd.read_csv(reference / "inspection" / "cost.csv").itertuples():
        rate = row.images / row.judging_s
        lines.append(
            f"| {row.images:,} | {row.workers} | {row.seconds:.0f} s | {rate:.0f} images a second "
            f"| {row.main_mb:.0f} MB | {row.workers_mb:.0f} MB |"
        )
    return "\n".join(lines)


def _accuracy(rows: pd.DataFrame, protocol: str) -> str:
    found = rows[rows["protocol"] == protocol]
    if found.empty:
        return ""
    row = found.iloc[0]
    return f"{row['accuracy']:.2%} ({row['low']:.1%}-{row['high']:.1%})"
