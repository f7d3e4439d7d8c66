"""Collect finished runs into `outputs/reference`, with a model card, and their table into README.

python -m nbutils.reference
"""

import shutil
import sys
from pathlib import Path

import pandas as pd

from nbutils import paths
from nbutils.paths import UserError

MODELS = ("mobilenet_v2", "custom_cnn")  # runs that are shipped
SEEDS = ("custom_cnn", "custom_cnn_1", "custom_cnn_2")  # runs of the custom CNN, a seed each
COMPARISON = "comparison"
OF_MODEL = ("model.keras", "model.json", "metrics.json", "history.csv")
OF_COMPARISON = ("comparison.csv", "worth.csv", "neighbours.csv", "costs.csv")
FIGURES = ("history", "confusion_matrix", "by_class", "confidence")  # none shows the data set
COMPARISON_FIGURES = ("comparison", "learning_curve", "cost")
LIMIT = 12 * 2**20  # bytes of all models together
START, END = "<!-- results: written by python -m nbutils.reference -->", "<!-- end of results -->"

LIMITS = """## Limits

- A closed set of six classes. There is none for clean steel or for any other defect: whatever the
  picture shows, one of the six is named.
- One mill's camera, 200 x 200 pixels, hot-rolled strip. Other light, scale or steel is untested.
- The data set is nearly solved, and neighbouring images come from one strip. The blocked protocol
  keeps most of them together, the others do not.
- Probabilities are the network's own and not calibrated.
"""


def collect(reference: Path) -> None:
    """Fill the reference folder from the runs in `outputs`.

    Raises
    ------
    UserError
        If a run is missing or of other images, or the models are too large to ship.
    """
    for run in {*MODELS, *SEEDS, COMPARISON}:
        _check(paths.OUTPUTS / run)
    for name in MODELS:
        _copy(paths.OUTPUTS / name, reference / name, OF_MODEL, FIGURES, "02_training")
    _copy(
        paths.OUTPUTS / COMPARISON,
        reference / COMPARISON,
        OF_COMPARISON,
        COMPARISON_FIGURES,
        "06_model_comparison",
    )
    size = sum(file.stat().st_size for file in reference.rglob("model.keras"))
    if size > LIMIT:
        raise UserError(f"the models have {size / 2**20:.1f} MB, over {LIMIT / 2**20:.0f} to ship")
    seeds = [_seed_row(run) for run in SEEDS]
    paths.write_csv(pd.DataFrame(seeds), reference / "custom_cnn" / "seeds.csv")
    _write(reference / "README.md", card(reference))
    _write(paths.ROOT / "README.md", with_results(paths.ROOT / "README.md", reference))


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

{LIMITS}"""


def results_table(reference: Path) -> str:
    """Return the comparison's accuracies and costs as a Markdown table."""
    worth = pd.read_csv(reference / COMPARISON / "worth.csv")
    costs = pd.read_csv(reference / COMPARISON / "costs.csv").set_index("model")
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


def with_results(readme: Path, reference: Path) -> str:
    """Return the README with the results between its markers renewed."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(START)
    _, marker, after = rest.partition(END)
    if not marker:
        raise UserError(f"{readme} lacks the line {END!r}: put it below {START!r}")
    seeds = pd.read_csv(reference / "custom_cnn" / "seeds.csv")
    each = ", ".join(f"{value:.2%}" for value in seeds["accuracy"])
    return f"""{before}{START}
{results_table(reference)}

Test accuracy with its 95 % interval. `x8` averages the answers over the eight turns and mirrorings
of the image; `both` joins the features of the two backbones. Pretrained ones are frozen here, with
a new head; the shipped one was fine-tuned after.

On the fixed split, the custom CNN's three seeds reached {each} (mean
{seeds["accuracy"].mean():.2%}). The shipped models are those of one run each:
{", ".join(_shipped(reference / name) for name in MODELS)}.
{END}{after}"""


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


def _seed_row(run: str) -> dict:
    results = paths.read_json(paths.OUTPUTS / run / "metrics.json", "02_training")
    test = results["test"]
    return {
        "seed": results["seed"],
        "accuracy": test["accuracy"],
        "errors": test["errors"],
        "training_seconds": results["training_seconds"],
    }


def _check(run: Path) -> None:
    """Refuse a run that the card would describe wrongly."""
    facts = paths.read_json(run / "audit.json", "01_data_exploration")
    if facts["data"]["name"] != "NEU-DET" or facts["split"]["kind"] != "fixed":
        raise UserError(f"{run} is not of NEU-DET's fixed split: nothing of it is shipped")


def _copy(run: Path, to: Path, files: tuple, figures: tuple, made_by: str) -> None:
    for name in (*files, *(f"figures/{figure}.png" for figure in figures)):
        source = paths.require(run / name, made_by)
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to / name)


def _write(file: Path, text: str) -> None:
    with paths.replacing(file) as beside:
        beside.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        collect(paths.OUTPUTS / "reference")
    except UserError as error:
        sys.exit(str(error))
