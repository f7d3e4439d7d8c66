"""The command line: `steel run | predict | inspect | export | bench | demo`.

Exit codes: 0 done; 1 done, but some images could not be read; 2 a mistake of the user, in a
sentence; 130 interrupted (0 where it watches, for that is how it ends). What a command alone needs
is imported inside it, so that `steel predict` runs with the base installation.
"""

import io
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from nbutils import disk, runs
from nbutils.data import bit_depth, image_list
from nbutils.data.images import ImageError, common_bit_depth, decode, read_file
from nbutils.disk import UserError
from nbutils.inference import answers
from nbutils.inference.prediction import Prediction, error_row
from nbutils.inference.predictor import DEFAULT_MODEL, Predictor, load_predictor

UNREADABLE, USER_ERROR, INTERRUPTED = 1, 2, 130  # exit codes
MAX_REVIEW_ROWS = 200  # of the review queue on the page
EXTRAS = {  # of the package, that each command needs
    "run": "notebooks",
    "predict": "train",
    "inspect": "train",
    "export": "export",
    "bench": "train",
    "demo": "notebooks",
}
CLUSTER = ("distributed", "dask")


class Steel(TyperGroup):
    """Ends every command that fails for a reason the user can mend in one sentence."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except UserError as error:
            code, sentence = USER_ERROR, str(error)
        except OSError as error:
            code, sentence = USER_ERROR, disk.describe_error(error, "the output")
            if not sentence:
                raise
            _drop_output()
        except ModuleNotFoundError as error:
            code, sentence = USER_ERROR, _missing_extra(ctx.invoked_subcommand, error)
        except KeyboardInterrupt:
            code, sentence = INTERRUPTED, "Interrupted."
        typer.echo(sentence, err=True)
        raise typer.Exit(code)


def _drop_output() -> None:
    """Have what could not be printed thrown away, which Python would try again at its end."""
    with suppress(io.UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Run(TyperCommand):
    """Takes two values after each `-p`, which Typer cannot declare for a list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Join each name with its value before they are parsed."""
        for at in reversed([at for at, word in enumerate(args) if word == "-p"]):
            pair = args[at + 1 : at + 3]
            if len(pair) < 2:
                raise UserError("-p takes a name and a value, as in -p EPOCHS 80")
            args[at + 1 : at + 3] = ["=".join(pair)]
        return super().parse_args(ctx, args)


def _missing_extra(command: str, error: ModuleNotFoundError) -> str:
    """Say which extra of the package has a module of others; raise for one of the package."""
    module = (error.name or "").partition(".")[0]
    if module in ("", "nbutils"):
        raise error
    extra = "cluster" if module in CLUSTER else EXTRAS[command]
    return f"steel {command} needs the extra {extra}: pip install 'nbutils[{extra}]'"


app = typer.Typer(cls=Steel, rich_markup_mode=None, pretty_exceptions_enable=False)
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE",
        help="Image files, folders, patterns in quotes, or CSV files with a column path.",
    ),
]
Model = Annotated[
    str, typer.Option("--model", help="A folder, run/model below outputs/, or one that ships.")
]
ModelArgument = Annotated[str, typer.Argument(help="A folder, or run/model below outputs/.")]
Backend = Annotated[
    str | None,
    typer.Option("--backend", help="keras or litert. Default: litert where the model has it."),
]
BitDepth = Annotated[
    int | None,
    typer.Option("--bit-depth", help="10, 12, 14 or 16. Default: of the model, else by the files."),
]
Scale = Annotated[
    float, typer.Option(help="Pixels per mm of the training images, over those of yours.")
]
Making = Annotated[
    str, typer.Option("--run", help="reference, to write into the folder of a model that ships.")
]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"steel {metadata.version('nbutils')}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Classify surface defects of hot-rolled steel on images, and say which to review."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be any bytes


@app.command(cls=Run, epilog="Example: steel run --run mill_2 --data ~/images/mill_2 -p EPOCHS 80")
def run(
    name: Annotated[
        str, typer.Option("--run", help="Folder below outputs/. Default: by the data, or the last.")
    ] = "",
    data: Annotated[
        str, typer.Option(help="Folder with the images. Default: NEU-DET where it is found.")
    ] = "",
    only: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Such as 02,03. Default: 01 to 05.")
    ] = "",
    parameters: Annotated[
        list[str] | None,
        typer.Option("-p", metavar="NAME VALUE", help="A parameter of the notebooks; repeatable."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two epochs, to see it work.")] = False,
) -> None:
    """Run the notebooks, with one report.

    Executed copies, figures, tables and report.html go to the run's folder below outputs/.
    """
    from nbutils import pipeline

    values = {key: value for key, _, value in (pair.partition("=") for pair in parameters or ())}
    typer.echo(f"report: {pipeline.run(name, data, only, values, quick)}")


@app.command(epilog="Example: steel predict strip_17.png night_shift/ --csv > predictions.csv")
def predict(
    sources: Sources,
    model: Model = DEFAULT_MODEL,
    backend: Backend = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to print.")] = 3,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, all probabilities.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
    bits: BitDepth = None,
    scale: Scale = 1.0,
) -> None:
    """Classify images one after the other."""
    if as_csv and as_json:
        raise UserError("--csv and --json exclude each other: choose one")
    paths = [path for source in sources for path in image_list.list_named(source)]
    bit_depth.check(bits)
    predictor = load_predictor(model, backend, scale)
    bits = bits or predictor.bit_depth or _bits_of_set(paths)
    show = answers.print_json if as_json else answers.text_printer(paths, top)
    show = answers.csv_printer(predictor.classes) if as_csv else show
    unreadable = False
    for path in paths:
        row, prediction = _predict(predictor, path, bits)
        show(row, prediction)
        unreadable |= prediction is None
    raise typer.Exit(UNREADABLE if unreadable else 0)


def _bits_of_set(paths: Sequence[str]) -> int | None:
    """Return the bit depth of the 16-bit files of a set, and tell it."""
    if bits := common_bit_depth(paths):
        typer.echo(bit_depth.describe(bits), err=True)
    return bits


def _predict(
    predictor: Predictor, path: str, bits: int | None
) -> tuple[dict[str, Any], Prediction | None]:
    """Return the row of a file, and its prediction or None if it could not be read."""
    try:
        prediction = predictor.predict_image(decode(read_file(path), path, bits))
        return prediction.to_row(path), prediction
    except ImageError as error:
        return error_row(path, str(error), predictor.classes), None


@app.command(epilog='Example: steel inspect "cam_?/*.jpg" --run mill_2 --model mill_2/mobilenet_v2')
def inspect(
    sources: Sources,
    name: Annotated[
        str, typer.Option("--run", help="Run to write into. Default: inspection_ and the source.")
    ] = "",
    model: Model = DEFAULT_MODEL,
    backend: Backend = None,
    scheduler: Annotated[str, typer.Option(help="Of a Dask cluster, as tcp://host:8786.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes here. Default: one for two cores.")
    ] = None,
    max_review_rows: Annotated[
        int, typer.Option(min=0, help="Images of the review queue on the page.")
    ] = MAX_REVIEW_ROWS,
    bits: BitDepth = None,
    scale: Scale = 1.0,
    watched: Annotated[
        bool, typer.Option("--watch", help="Go on as images arrive in the folder, until Ctrl-C.")
    ] = False,
) -> None:
    """Classify many images into a table.

    With a page of what to review. Started again after an interruption, it goes on.
    """
    import joblib  # noqa: F401  a missing extra is named before anything is written

    from nbutils.apps.inspection_run import Inspection

    asked = Inspection(sources, name, model, backend, bits, scale, max_review_rows)
    if watched and (scheduler or workers):
        raise UserError("--watch inspects in one process: leave out --scheduler and --workers")
    if watched:
        asked.watch(typer.echo)
        return
    table, page, summary = asked.run(scheduler, workers)
    typer.echo(f"{summary.describe()}\n{table}\n{table.with_name(runs.DEFECTS)}\n{page}")
    raise typer.Exit(UNREADABLE if summary.n_errors else 0)


@app.command(epilog="Example: steel export mill_2/mobilenet_v2")
def export(model: ModelArgument, making: Making = "") -> None:
    """Write a model for the LiteRT runtime.

    Then hold it against Keras on the test images of its run.
    """
    from nbutils.inference import export

    folder = runs.find_model(model)
    if runs.ships(folder) and making != runs.REFERENCE:
        raise UserError(f"{folder} ships and is not written to: train a model of your own")
    typer.echo(export.export(folder).to_string(index=False))


@app.command(epilog="Example: steel bench mill_2/mobilenet_v2 --rounds 11")
def bench(
    model: ModelArgument = DEFAULT_MODEL,
    rounds: Annotated[int, typer.Option(min=1, help="Of measurements.")] = 3,
    making: Making = "",
) -> None:
    """Time a model with each backend.

    On SYNTHETIC images, from the bytes of a file to the prediction, each in a process of its own.
    """
    from nbutils.data import synthetic
    from nbutils.evaluation import latency

    folder = runs.find_model(model)
    with tempfile.TemporaryDirectory() as place:
        files = []
        for name, content in synthetic.example_files(seed=0):
            files.append(Path(place, name))
            files[-1].write_bytes(content)
        table = latency.benchmark(folder, files, rounds).assign(images="SYNTHETIC")
    if not runs.ships(folder) or making == runs.REFERENCE:
        runs.write_csv(table, folder / runs.BENCHMARK)
    typer.echo(table.to_string(index=False, float_format="{:.4g}".format))


@app.command(
    epilog="Example: steel demo --model mill_2/mobilenet_v2 --theme=dark --port=8867",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def demo(
    context: typer.Context,
    model: Model = DEFAULT_MODEL,
    root: Annotated[str, typer.Option(help="Visitors may read images below this folder.")] = "",
    suspects: Annotated[
        str, typer.Option(metavar="RUN", help="Begin with the doubtful labels of a run.")
    ] = "",
    scale: Scale = 1.0,
    host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of a proxy before it; repeatable."),
    ] = None,
) -> None:
    """Serve the panel on this machine.

    Further options go to Voila.
    """
    from nbutils.apps import server

    server.serve(model, root, suspects, scale, host or (), context.args)


def main() -> None:
    """Run the command line."""
    app()
