"""What is said of the shipped models: their card and the README's tables, from their own files."""

import textwrap
from pathlib import Path

import pandas as pd

from nbutils import corruptions, paths, tables
from nbutils.paths import UserError
from nbutils.tables import MODELS
from nbutils.unknown import SHIPPED

WIDTH = 100  # characters a line
START = "<!-- {}: written by python -m nbutils.reference -->"  # of a part of the README
END = "<!-- end of {} -->"

TRUST_NOTES = (
    f"Fixed test images. Corruptions are {len(corruptions.FAMILIES)} families at five severities, "
    f"{len(corruptions.LEFT_OUT)} of them left out of training, and white noise by its "
    "signal-to-noise ratio. ECE is the expected calibration error. Accepted answers need no "
    "person. Maps are held against the boxes of the predicted class."
)

SPEED_NOTES = """From the bytes of a SYNTHETIC JPEG to the answer with its verdict, on two cores, in
one run, in turn (`make bench`): medians with half the range of the middle half, a process started
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

{tables.results(reference)}

## Trust

{tables.trust(reference)}

{_wrapped(TRUST_NOTES)}

{LIMITS}"""


def with_results(readme: Path, reference: Path) -> str:
    """Return the README with what lies between its markers renewed."""
    text = readme.read_text(encoding="utf-8")
    parts = {
        "results": _results(reference),
        "demo's costs": _demo_costs(reference),
        "inspection's costs": tables.inspection(reference),
    }
    for name, part in parts.items():
        start, end = START.format(name), END.format(name)
        before, first, rest = text.partition(start)
        _, last, after = rest.partition(end)
        if not (first and last):
            raise UserError(f"{readme} lacks the lines {start!r} and {end!r}: put them in")
        text = f"{before}{start}\n{part}\n{end}{after}"
    return text


def _demo_costs(reference: Path) -> str:
    costs = paths.read_json(reference / "demo" / "demo.json", "tests/measure_demo.py")
    return _wrapped(
        f"On two cores, the first page is there {costs['first_page_s']:.1f} s after the start, and "
        f"a further prediction {1000 * costs['prediction_s']:.0f} ms after its upload. With "
        f"{costs['sessions']} sessions open at once, one holds {costs['session_mb']:.0f} MB, and "
        f"{costs['session_with_maps_mb']:.0f} MB once it has drawn maps."
    )


def _results(reference: Path) -> str:
    accuracy = pd.read_csv(reference / "custom_cnn" / "seeds.csv")["accuracy"]
    seeds = (
        f"On the fixed split, the custom CNN's three seeds reached {_listed(accuracy)} (mean "
        f"{accuracy.mean():.2%}). The shipped models are those of one run each: "
        f"{', '.join(_shipped(reference / name) for name in MODELS)}."
    )
    return f"""{tables.results(reference)}

Test accuracy with its 95 % interval. `x8` averages the answers over the eight turns and mirrorings
of the image; `both` joins the features of the two backbones. Pretrained ones are frozen here, with
a new head; the shipped one was fine-tuned after.

{_wrapped(seeds)}

{tables.trust(reference)}

{_wrapped(f"{TRUST_NOTES} {_unknown(reference)}")}

{tables.speed(reference)}

{SPEED_NOTES}"""


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
