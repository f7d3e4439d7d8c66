"""Write a run's model for the LiteRT runtime, in float32 and int8, and hold it against Keras.

python -m nbutils.export RUN
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from nbutils import calibration, data, limits, paths, splits, trust
from nbutils.paths import UserError
from nbutils.predict import BACKENDS, find_model, load_predictor
from nbutils.predictor import Predictor

CALIBRATORS = 200  # training images that set the ranges of int8
# Operations in int8, by type and name: convolutions, and the sums that are layers of their own. The
# first convolutions, as MobileNetV2, EfficientNet and the custom CNN call them, stay in float32:
# few channels of the bare image have the widest ranges. So does what evens out the light, pools and
# decides, since squares of gray values do not fit into 8 bits.
LATER = r"^(?!.*/(Conv1|expanded_conv_depthwise|stem|_conv_stem|conv1)).*"
IN_INT8 = {"CONV_2D": LATER, "DEPTHWISE_CONV_2D": LATER, "ADD": ".*/Add.*"}


def export(run: Path) -> pd.DataFrame:
    """Write a model's `.tflite` files into its run, and how they compare to `export.csv`.

    Parameters
    ----------
    run
        With `model.keras`, its limits and `split.csv`: training images calibrate int8, test images
        are compared.

    Returns
    -------
    As `compare` does.
    """
    slow = load_predictor(run)
    split = splits.read_split(run)
    split = split[split["label"].isin(slow.classes)]  # one may have been left out of training
    known = split[split["part"] != "test"]
    squares = data.read_images(known, slow.size)
    trust.forget(run / "int8")
    (float32, _), (int8, _) = BACKENDS["litert"], BACKENDS["int8"]
    write_float32(slow, run / float32)
    spread = squares[:: max(len(squares) // CALIBRATORS, 1)]
    write_int8(run / float32, spread, run / int8)
    numbers = known["label"].map(slow.classes.index).to_numpy()
    if slow.trust:
        fit_novelty(load_predictor(run, "int8"), slow, squares, numbers).save(run / "int8")
    table = compare(run, split[split["part"] == "test"])
    paths.write_csv(table, run / "export.csv")
    return table


def write_float32(predictor: Predictor, file: Path) -> None:
    """Write a Keras predictor's network as a `.tflite` file."""
    from nbutils import answering

    answering.write(answering.answering(predictor.model), file)


def write_int8(float32: Path, squares: np.ndarray, file: Path) -> None:
    """Write a `.tflite` file again with convolutions in int8, by LiteRT's quantizer.

    Parameters
    ----------
    float32
        File to start from.
    squares
        uint8 (n, size, size, 1), whose activations set the ranges.
    file
        To write.
    """
    from litert_quantizer import qtyping, quantizer

    work = quantizer.Quantizer(str(float32))
    for operation, names in IN_INT8.items():
        work.add_static_config(names, qtyping.TFLOperationName(operation), 8, 8)
    file.parent.mkdir(exist_ok=True)
    images = [{"image": square[np.newaxis].astype(np.float32)} for square in squares]
    with paths.replacing(file) as beside, contextlib.redirect_stdout(io.StringIO()):
        ranges = work.calibrate({"serving_default": images})
        beside.write_bytes(work.quantize(ranges).quantized_model)


def fit_novelty(
    fast: Predictor, slow: Predictor, squares: np.ndarray, numbers: np.ndarray
) -> trust.Trust:
    """Fit novelty to what another form of a network makes of the same images.

    Its limit leaves as many of them outside as the network's own; the other limits are kept.

    Parameters
    ----------
    fast, slow
        Predictors of the other form, and of the network.
    squares, numbers
        Images that the limits were fitted to, and their class numbers.
    """
    before, after = (one.answers(squares, views=1)[1] for one in (slow, fast))
    held_out = limits.held_out_distances
    share = np.mean(held_out(before, numbers) > slow.trust.limits.novelty)
    limit = float(np.quantile(held_out(after, numbers), 1 - share))
    kept = replace(slow.trust.limits, novelty=limit)
    return trust.Trust(kept, limits.fit_gaussians(after, numbers))


def compare(run: Path, test: pd.DataFrame) -> pd.DataFrame:
    """Hold every form of a run's model against Keras on test images.

    Returns
    -------
    One row for each of `predict.BACKENDS`: network, accuracy, ece, accepted (shares), agreement
    (share of images with the label that Keras gives), difference (largest, of a probability) and
    size_mb.
    """
    files = [Path(path).read_bytes() for path in test["path"]]
    rows, truth = [], []
    for backend, (name, _) in BACKENDS.items():
        predictor = load_predictor(run, backend)
        found = predictor.predict(files, list(test["path"]))
        chances = np.array([list(one.probabilities.values()) for one in found])
        numbers = test["label"].map(predictor.classes.index).to_numpy()
        truth = chances if backend == "keras" else truth
        rows.append({
            "network": backend,
            "accuracy": np.mean(chances.argmax(axis=1) == numbers),
            "ece": calibration.measures(chances, numbers)["ece"],
            "accepted": np.mean([one.verdict == "accept" for one in found]),
            "agreement": np.mean(chances.argmax(axis=1) == truth.argmax(axis=1)),
            "difference": np.abs(chances - truth).max(),
            "size_mb": (run / name).stat().st_size / 2**20,
        })  # fmt: skip
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser("python -m nbutils.export", description=__doc__)
    parser.add_argument("run", help="a run below outputs/, or a folder")
    chosen = parser.parse_args(arguments)
    try:
        folder = find_model(chosen.run)
        print(export(folder).to_string(index=False, float_format="{:.4g}".format))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written to {folder}: load_predictor({chosen.run!r}, backend='litert')")
    return 0


if __name__ == "__main__":
    sys.exit(main())
