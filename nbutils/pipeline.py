"""The notebooks run in order, headless, into one run, with one report."""

import ast
import base64
import html
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from PIL import Image
from tqdm.contrib import DummyTqdmFile

from nbutils import disk, runs
from nbutils.data import datasets
from nbutils.disk import UserError

ONE_MODEL = {"01", "02", "03", "04", "05"}  # about one model; the others compare
BASIC = {"01", "02"}  # what all others build upon: the split, and a model
QUICK = {"EPOCHS": 2, "HEAD_EPOCHS": 2}
NUMBERED = "[0-9][0-9]_*.ipynb"
KERNEL_OPTIONS = ["--log-level=CRITICAL"]  # else they warn of TCP and of their end
PLAIN = {"text/plain"}  # of an output that is but Python's description of an object
WIDGET = "application/vnd.jupyter.widget-view+json"
TEMPLATE = runs.PACKAGE / "apps" / "templates" / "pipeline_report.html.j2"
TOC_LEVELS = 2  # of headings in the table of contents
FENCE = "```"  # around code in prose
QUALITY = 85  # of the report's images, of 100


def notebooks() -> dict[str, Path]:
    """Return all notebooks by their numbers, in order."""
    return {file.name[:2]: file for file in sorted(runs.NOTEBOOKS.glob(NUMBERED))}


def select(only: str = "") -> list[Path]:
    """Return the notebooks of `ONE_MODEL`, or those with the numbers named (`"02,03"`), in order.

    Raises UserError for a number that no notebook has.
    """
    available = notebooks()
    selected = set(runs.parse_list(only)) if only else ONE_MODEL & available.keys()
    missing = sorted(selected - available.keys())
    if missing:
        raise UserError(f"no notebook {', '.join(missing)}: choose from {', '.join(available)}")
    return [available[number] for number in sorted(selected)]


def parameters_of(notebook: Path) -> dict[str, Any]:
    """Return the names in the parameters cell of a notebook with their defaults."""
    cell = papermill.inspect_notebook(str(notebook))
    return {name: ast.literal_eval(entry["default"]) for name, entry in cell.items()}


def run(
    name: str = "",
    data: str = "",
    only: str = "",
    parameters: Mapping[str, Any] | None = None,
    quick: bool = False,
) -> Path:
    """Execute notebooks into a run and return one report of them.

    The run is by default named after its data; where no notebook splits any, it is the last one.

    Data is that of the run, if it has been split before, else found as `datasets.find_source` does,
    and notebooks as `select`. Each parameter goes to the notebooks that declare it, as the type of
    its default; a `NAME` for the model that 02 trains is the `MODEL` of the notebooks after it.
    Quick trains for two epochs.

    Raises
    ------
    UserError
        If there are no such data, notebooks or parameters, before anything is written; if another
        process executes notebooks into the run; or if a notebook fails; what ran before is kept.
    """
    chosen = select(only)
    declared = {notebook: parameters_of(notebook) for notebook in chosen}
    values = _typed(dict(parameters or {}), declared)
    values |= _choose_run(name, data, values, declared)
    folder = runs.create_run(values["RUN"])
    values = (QUICK if quick else {}) | values
    with disk.locked(folder), disk.disk_errors(folder):
        for at, notebook in enumerate(chosen, start=1):
            print(f"[{at}/{len(chosen)}] {notebook.stem}", flush=True)
            _execute(notebook, folder, _own(values, declared[notebook]))
        return write_report(folder)


def _choose_run(
    name: str, data: str, values: Mapping[str, Any], declared: Mapping[Path, dict]
) -> dict[str, Any]:
    """Return RUN, and DATA_DIR where that is given or known: the run is named after its data."""
    named = values.get("RUN", "")
    if name and named not in ("", name):
        raise UserError(f"the run is named twice, {name} and {named}: name it once")
    name = name or named
    splits_anew = any("DATA_DIR" in names for names in declared.values())
    if not splits_anew and not data:
        return {"RUN": name or runs.open_run().name}
    given = data or values.get("DATA_DIR") or (datasets.folder_of(name) if name else "")
    if data or not name:
        source = datasets.find_source(given)
        name = name or datasets.name_run(source)
    return {"RUN": name, "DATA_DIR": given} if given else {"RUN": name}


def _typed(parameters: dict[str, Any], declared: Mapping[Path, dict]) -> dict[str, Any]:
    """Return parameters as the types of their defaults; text is read as Python would."""
    defaults = {name: value for own in declared.values() for name, value in own.items()}
    unknown = sorted(parameters.keys() - defaults.keys())
    if unknown:
        known = ", ".join(sorted(defaults))
        raise UserError(f"no notebook of this run has {unknown[0]}: choose from {known}")
    return {name: _as_default(name, value, defaults[name]) for name, value in parameters.items()}


def _as_default(name: str, value: Any, default: Any) -> Any:
    if isinstance(value, str) and not isinstance(default, str):
        with suppress(ValueError, SyntaxError):
            value = ast.literal_eval(value)
    if isinstance(value, int) and not 0 <= value < 2**32 and isinstance(default, int):
        raise UserError(f"{name} takes 0 to {2**32 - 1}, not {value}")
    kinds = (int, float) if isinstance(default, float) else type(default)
    if default is not None and not isinstance(value, kinds):
        kind = type(default).__name__
        raise UserError(f"{name} takes {kind} such as {default!r}, not {value!r}")
    return value


def _own(values: Mapping[str, Any], declared: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a notebook declares."""
    if values.get("NAME") and "NAME" not in declared:
        values = {**values, "MODEL": values["NAME"]}
    return {name: values[name] for name in values if name in declared}


def _execute(notebook: Path, run: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook into `notebooks/` of a run; a failing one is kept as `failed_...`."""
    executed = run / "notebooks"
    executed.mkdir(exist_ok=True)
    disk.sweep(executed)
    failed = executed / f"failed_{notebook.name}"
    failed.unlink(missing_ok=True)
    with disk.atomic_write(executed / notebook.name) as tmp:
        try:
            papermill.execute_notebook(
                str(notebook),
                str(tmp),
                parameters,
                kernel_name="python3",
                extra_arguments=KERNEL_OPTIONS,
                progress_bar={"leave": False} if sys.stderr.isatty() else False,
                stdout_file=DummyTqdmFile(sys.stdout),
            )
        except (PapermillExecutionError, DeadKernelError) as error:
            tmp.replace(failed)
            raise UserError(f"{notebook.name} failed {_reason(error)} ({failed})") from error
        _drop_widgets(tmp)


def _reason(error: PapermillExecutionError | DeadKernelError) -> str:
    if isinstance(error, DeadKernelError):
        return "since its kernel died, of too little memory or a signal"
    kind = "" if error.ename == UserError.__name__ else f"{error.ename}: "
    return f"in cell {error.cell_index + 1}: {kind}{error.evalue}"


def _drop_widgets(notebook: Path) -> None:
    """Remove bars and panels from an executed copy: without a kernel they show nothing of use."""
    copy = nbformat.read(notebook, as_version=4)
    copy.metadata.pop("widgets", None)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if WIDGET not in each.get("data", {})]
    nbformat.write(copy, notebook)


def write_report(run: Path) -> Path:
    """Join the executed notebooks of a run into one page with the code folded away.

    One that was executed before the newest 01 or 02 is said to be older.
    """
    files = sorted((run / "notebooks").glob(NUMBERED))
    names = [file.stem for file in files]
    cells = [cell for file in files for cell in _shown(_sections(file, files), names)]
    exporter = HTMLExporter(template_file=str(TEMPLATE))
    exporter.register_filter("markdown2html", _to_html)
    facts = {
        "title": run.name + (" (SYNTHETIC images)" if runs.is_synthetic(run) else ""),
        "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M}",
        "models": [
            {"model": file.parent.name, **runs.read_json(file)["test"]}
            for file in sorted(run.glob(f"*/{runs.METRICS}"))
        ],
        "contents": list(_headings(cells)),
    }
    joined = nbformat.v4.new_notebook(cells=cells)
    page, _ = exporter.from_notebook_node(joined, resources={"report": facts})
    with disk.atomic_write(run / runs.REPORT) as tmp:
        tmp.write_text(page, encoding="utf-8")
    return run / runs.REPORT


def _to_html(markdown: str) -> str:
    """Turn Markdown into HTML; tags in it, as the names of classes and data may hold, stay text."""
    renderer = IPythonRenderer(
        escape=True, allow_harmful_protocols=False, exclude_anchor_links=True
    )
    return MarkdownWithMath(renderer=renderer).render(markdown)


def _sections(notebook: Path, files: Sequence[Path]) -> list[NotebookNode]:
    """Return the cells of an executed notebook, cut at headings, each with an id of its own.

    Of those executed beside it, it says which it builds upon and is older than.
    """
    cells: list[NotebookNode] = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown" and FENCE not in cell.source:
            parts = re.split(r"^(?=#+ )", cell.source, flags=re.MULTILINE)
            cells += [nbformat.v4.new_markdown_cell(part) for part in parts if part.strip()]
        else:
            cells.append(cell)
    executed = notebook.stat().st_mtime
    newer = [file.stem for file in files if file < notebook and file.stat().st_mtime > executed]
    if newer := [name for name in newer if name[:2] in BASIC]:
        text = f"**Executed before the {' and the '.join(newer)} above**: run it again."
        cells.insert(1, nbformat.v4.new_markdown_cell(text))
    for at, cell in enumerate(cells):
        cell.id = f"{notebook.stem}-{at}" if at else notebook.stem
    return cells


def _shown(cells: Sequence[NotebookNode], names: Sequence[str]) -> list[NotebookNode]:
    """Return the cells of a notebook that the report shows."""
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if set(each.get("data", {})) != PLAIN]
        else:
            cell.source = _linked(cell.source, names)
    shown = [cell for cell in cells if cell.cell_type == "markdown" or cell.get("outputs")]
    shown = [cell for at, cell in enumerate(shown) if not _is_empty_section(shown, at)]
    heading = ""
    for cell in shown:
        heading = _heading(cell)[1] or heading
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data = NotebookNode({"text/html": _image(output.data["image/png"], heading)})
    return shown


def _image(png: str, alt: str) -> str:
    """Return an image in base64 as HTML, as WebP, which is several times smaller."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.save(file, "WEBP", quality=QUALITY)
    content = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/webp;base64,{content}">'


def _linked(source: str, names: Sequence[str]) -> str:
    """Turn links to other notebooks into links within the report, or into text."""

    def link(match: re.Match) -> str:
        text, name = match.groups()
        return f"[{text}](#cell-id={name})" if name in names else text

    return re.sub(r"\[([^\]]*)\]\((\d\d_\w+)\.ipynb\)", link, source)


def _heading(cell: NotebookNode) -> tuple[int, str]:
    """Return the level and the text of the heading that a cell begins with; level 0 without."""
    match = re.match(r"(#+) +(.+)", cell.source) if cell.cell_type == "markdown" else None
    return (len(match[1]), match[2].strip().replace("`", "")) if match else (0, "")


def _is_empty_section(cells: Sequence[NotebookNode], at: int) -> bool:
    """Return whether a cell is a heading alone, without content below it."""
    level, _ = _heading(cells[at])
    if not level or "\n" in cells[at].source.strip():
        return False
    following = _heading(cells[at + 1])[0] if at + 1 < len(cells) else 1
    return 0 < following <= level


def _headings(cells: Sequence[NotebookNode]) -> Iterator[dict[str, Any]]:
    for cell in cells:
        level, text = _heading(cell)
        if 0 < level <= TOC_LEVELS:
            yield {"level": level, "text": text, "anchor": f"cell-id={cell.id}"}
