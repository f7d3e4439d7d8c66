"""What is said of the shipped models: their card and the README's tables, from their own files."""

import textwrap
from pathlib import Path

import pandas as pd

from nbutils import corruptions, paths
from nbutils.paths import UserError
from nbutils.unknown import SHIPPED

WIDTH = 100  # characters a line
MODELS = ("mobilenet_v2", "custom_cnn")  # runs that are shipped
START, END = "<!-- results: written by python -m nbutils.reference -->", "<!-- end of results -->"

TRUST_NOTES = (
    f"Fixed test images. Corruptions are {len(corruptions.FAMILIES)} families at five severities, "
    f"{len(corruptions.LEFT_OUT)} of them left out of training, and white noise by its "
    "signal-to-noise ratio. ECE is the expected calibration error. Accepted answers need no "
    "person. Maps are held against the boxes of the predicted class."
)

SPEED_NOTES = """From the bytes of a JPEG file to the answer with its verdict, on two cores, in one
run, in turn (`make bench`): medians with half the range of the middle half, a process started
afresh to its first answer, and its peak memory. `model.predict` is what an app does that opens,
converts and resizes each image itself, and gives probabilities alone."""

LIMITS = """## Limits

- A closed set of six classes. There is none for clean steel or for any other defect: whatever the
  picture shows, one of the six is named.
- One mill's camera, 200 x 200 pixels, hot-rolled strip. Other light, scale or steel is untested.
- The data set is nearly solved, and neighbouring images come from one strip. The blocked protocol
  keeps most of them together, the others do not.
- Probabilities are calibrated on validation images, clean and corrupted by computation. Another
  camera wears in another way: calibrate again on images of its own.
- A low novelty is no proof: a new defect that looks like an old one passes.
"""


def card(reference: Path) -> str:
    """Write the model card of a reference folder, from its own files."""
    models = "\n".join(_model_section(reference / name) for name in MODELS)
    return f"""# Reference models

Trained and judged by `make reference` on NEU-DET; `load_predictor()` takes `{MODELS[0]}`. Data:
1,800 grayscale images of six classes, see [data](../../data/README.md). Protocol of `metrics.json`:
images 1-240 of each class train, a part of them in blocks of consecutive numbers chooses the epoch,
images 241-300 judge once.

{models}
## Comparison

{results_table(reference)}

## Trust

{trust_table(reference)}

{_wrapped(TRUST_NOTES)}

{LIMITS}"""


def results_table(reference: Path) -> str:
    """Return the comparison's accuracies and costs as a Markdown table."""
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


def trust_table(reference: Path) -> str:
    """Return what the shipped models are worth off the clean test part, as a Markdown table."""
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


def speed_table(reference: Path) -> str:
    """Return what a shipped model costs in each of its forms, as a Markdown table."""
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


def with_results(readme: Path, reference: Path) -> str:
    """Return the README with the results between its markers renewed."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, marker, after = rest.partition(END)
    if not marker:
        raise UserError(f"{readme} lacks the line {END!r}: put it below {START!r}")
    accuracy = pd.read_csv(reference / "custom_cnn" / "seeds.csv")["accuracy"]
    seeds = (
        f"On the fixed split, the custom CNN's three seeds reached {_listed(accuracy)} (mean "
        f"{accuracy.mean():.2%}). The shipped models are those of one run each: "
        f"{', '.join(_shipped(reference / name) for name in MODELS)}."
    )
    return f"""{before}{START}
{results_table(reference)}

Test accuracy with its 95 % interval. `x8` averages the answers over the eight turns and mirrorings
of the image; `both` joins the features of the two backbones. Pretrained ones are frozen here, with
a new head; the shipped one was fine-tuned after.

{_wrapped(seeds)}

{trust_table(reference)}

{_wrapped(f"{TRUST_NOTES} {_unknown(reference)}")}

{speed_table(reference)}

{SPEED_NOTES}
{END}{after}"""


def _unknown(reference: Path) -> str:
    """Say how well `MODELS[0]` knows what it does not know."""
    found = pd.read_csv(reference / "novelty" / "left_out.csv")
    shipped = found[found["score"] == SHIPPED]["auroc"]
    groups = pd.read_csv(reference / "novelty" / "novelty_summary.csv").set_index("group")
    pictures = groups.loc["photographs, textures"]
    names = ", ".join(found["left_out"].unique())
    return (
        f"Trained without one class in turn ({names}), `{MODELS[0]}` tells the class left out from "
        f"the others with an AUROC of {shipped.mean():.3f} in the mean ({shipped.min():.3f} to "
        f"{shipped.max():.3f}), photographs and textures with {pictures['auroc']:.4f}."
    )


def _listed(shares: pd.Series) -> str:
    return ", ".join(f"{value:.2%}" for value in shares)


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False)


def _shipped(folder: Path) -> str:
    judged = paths.read_json(folder / "metrics.json", "02_training")["test"]
    low, high = judged["accuracy_interval"]
    right = judged["images"] - judged["errors"]
    return f"`{folder.name}` {right} of {judged['images']} right ({low:.1%} to {high:.1%})"


def _model_section(folder: Path) -> str:
    facts = paths.read_json(folder / "model.json", "02_training")
    size = facts["settings"]["size"]
    results = paths.read_json(folder / "metrics.json", "02_training")
    return f"""## {folder.name}

- {facts["parameters"]:,} parameters, input {size} x {size} gray, {_views(facts["views"])}.
- {_shipped(folder)} on the fixed test part; log loss {results["test"]["log_loss"]:.4f}.
- Trained in {results["training_seconds"]:.0f} s on two cores, seed {results["seed"]}.
- Keras {facts["versions"]["keras"]}, TensorFlow {facts["versions"]["tensorflow"]}.

![confusion matrix]({folder.name}/figures/confusion_matrix.png)
"""


def _views(count: int) -> str:
    return "asked as it is" if count == 1 else f"answers averaged over {count} views"


def _accuracy(rows: pd.DataFrame, protocol: str) -> str:
    found = rows[rows["protocol"] == protocol]
    if found.empty:
        return ""
    row = found.iloc[0]
    return f"{row['accuracy']:.2%} ({row['low']:.1%}-{row['high']:.1%})"
