"""Run the notebooks in order, headless, into one folder.

python -m nbutils.pipeline [--run NAME] [--data DIR] [--only 02,03] [-p NAME VALUE] [--quick]
"""

import argparse
import ast
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import papermill
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from tqdm import tqdm

from nbutils import paths
from nbutils.paths import UserError

DEFAULT_RUN = "custom_cnn"
ONE_MODEL = {"01", "02", "03", "04", "05"}  # the way of one model; the others compare
QUICK = {"EPOCHS": 2}
WIDGET = "application/vnd.jupyter.widget-view+json"
FOLDED_CODE = """
{%- extends 'lab/index.html.j2' -%}
{% block input_group %}
<details style="margin-left: 5em"><summary>code</summary>{{ super() }}</details>
{% endblock input_group %}
"""


def notebooks() -> dict[str, Path]:
    """Return all notebooks by their numbers, in order."""
    return {file.name[:2]: file for file in sorted(paths.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))}


def select(only: str | None = None) -> list[Path]:
    """Return the notebooks of `ONE_MODEL`, or those with the numbers named (`"02,03"`), in order.

    Raises UserError for a number that no notebook has.
    """
    known = notebooks()
    wanted = only.split(",") if only else ONE_MODEL & known.keys()
    unknown = [number for number in wanted if number not in known]
    if unknown:
        raise UserError(f"no notebook {', '.join(unknown)}: choose from {', '.join(known)}")
    return [known[number] for number in sorted(set(wanted))]


def parameters_of(notebook: Path) -> dict:
    """Return the names in the parameters cell of a notebook with their defaults."""
    found = papermill.inspect_notebook(str(notebook))
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}


def run(notebooks: Sequence[Path], folder: Path, parameters: dict) -> Path:
    """Execute notebooks and collect them in one report.

    Parameters
    ----------
    notebooks
        In the order to run.
    folder
        Of the run; receives `notebooks/` (executed copies) and `report.html`.
    parameters
        Each goes to the notebooks that declare it.

    Returns
    -------
    The report.

    Raises
    ------
    UserError
        If a parameter is declared nowhere or has another type than its default, or if a notebook
        fails; what ran before is kept.
    """
    declared = {notebook: parameters_of(notebook) for notebook in notebooks}
    defaults = {name: value for own in declared.values() for name, value in own.items()}
    parameters = {name: _typed(name, value, defaults) for name, value in parameters.items()}
    executed = folder / "notebooks"
    executed.mkdir(parents=True, exist_ok=True)
    with _kernels_log(executed / "kernels.log"):
        for at, notebook in enumerate(notebooks, start=1):
            print(f"[{at}/{len(notebooks)}] {notebook.stem}", flush=True)
            own = {name: parameters[name] for name in parameters if name in declared[notebook]}
            _execute(notebook, executed, own)
    return _report(sorted(executed.glob("[0-9][0-9]_*.ipynb")), folder)


@contextmanager
def _kernels_log(log: Path) -> Iterator[None]:
    """Send what kernels write past their notebooks into a log; the bars stay on the screen."""
    before, screen = sys.stderr, os.dup(2)
    with log.open("wb") as file, os.fdopen(screen, "w") as sys.stderr:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(screen, 2)
            sys.stderr.flush()
            sys.stderr = before


def _typed(name: str, value, defaults: dict):
    """Return a parameter's value as its default's type; words are read as Python would."""
    if name not in defaults:
        known = ", ".join(sorted(defaults))
        raise UserError(f"no notebook of this run has {name}: choose from {known}")
    default = defaults[name]
    if isinstance(value, str) and not isinstance(default, str):
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    kinds = (int, float) if isinstance(default, float) else type(default)
    if default is not None and not isinstance(value, kinds):
        kind = type(default).__name__
        raise UserError(f"{name} takes {kind} such as {default!r}, not {value!r}")
    return value


def _execute(notebook: Path, executed: Path, parameters: dict) -> None:
    """Execute a notebook into `executed`; a failing one is kept there as `failed_...`."""
    failed = executed / f"failed_{notebook.name}"
    failed.unlink(missing_ok=True)
    with paths.replacing(executed / notebook.name) as beside:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(beside),
                parameters,
                kernel_name="python3",
                progress_bar={"file": sys.stderr, "leave": False} if sys.stderr.isatty() else False,
                stdout_file=_Screen(),
            )
        except PapermillExecutionError as error:
            beside.replace(failed)
            where = f"{notebook.name} failed in cell {error.cell_index + 1} ({failed})"
            raise UserError(f"{where}:\n{error.ename}: {error.evalue}") from error
        _drop_widgets(beside)


def _drop_widgets(notebook: Path) -> None:
    """Remove bars and panels from an executed copy: without a kernel they show nothing of use."""
    copy = nbformat.read(notebook, as_version=4)
    copy.metadata.pop("widgets", None)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if WIDGET not in one.get("data", {})]
    nbformat.write(copy, notebook)


class _Screen:
    """Prints what notebooks print, above the progress bar."""

    def write(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout, end="")

    def flush(self) -> None:
        sys.stdout.flush()


def _report(notebooks: Sequence[Path], folder: Path) -> Path:
    """Join executed notebooks into one HTML page with the code folded away."""
    whole = nbformat.read(notebooks[0], as_version=4)
    for notebook in notebooks[1:]:
        whole.cells += nbformat.read(notebook, as_version=4).cells
    whole.cells = [cell for cell in whole.cells if cell.cell_type != "code" or cell.outputs]
    exporter = HTMLExporter(raw_template=FOLDED_CODE, embed_images=True)
    title = f"{folder.name}{' (SYNTHETIC images)' if paths.is_synthetic(folder) else ''}"
    page, _ = exporter.from_notebook_node(whole, resources={"metadata": {"name": title}})
    report = folder / "report.html"
    with paths.replacing(report) as beside:
        beside.write_text(page, encoding="utf-8")
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m nbutils.pipeline", description="Run the notebooks into one folder."
    )
    parser.add_argument("--run", default=DEFAULT_RUN, help="folder below outputs/ (%(default)s)")
    parser.add_argument("--data", help="folder with the images (default: search)")
    parser.add_argument("--only", metavar="NUMBERS", help="such as 02,03 (default: 01 to 05)")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    parser.add_argument("--quick", action="store_true", help="two epochs, to see it work")
    chosen = parser.parse_args(arguments)
    parameters = {"RUN": chosen.run}
    if chosen.data:
        parameters["DATA_DIR"] = str(Path(chosen.data).expanduser().resolve())
    if chosen.quick and "02" in (chosen.only or "02"):
        parameters |= QUICK
    parameters |= dict(chosen.p)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        report = run(select(chosen.only), paths.run_folder(chosen.run), parameters)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"report: {report}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
