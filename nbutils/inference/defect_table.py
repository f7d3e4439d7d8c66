"""The table of the defects of a batch: a row a defect, in the order of the images."""

import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nbutils.inference.defects import Defect
from nbutils.runs import UserError

COLUMNS = ("path", "label", "confidence", "xmin", "ymin", "xmax", "ymax", "area")
COUNT = "defects"  # column of `inspections.csv`: rows that an image has in this table


def rows_of(path: str, defects: Sequence[Defect]) -> list[dict[str, Any]]:
    """Return a row a defect, surest first; boxes in pixels of the file, areas in square pixels."""
    return [{"path": path, **vars(defect), "area": defect.area} for defect in defects]


def resume(file: Path, table: Path, done: int, columns: Sequence[str]) -> None:
    """Keep the defects of the first images of `inspections.csv`, which are done, and no more.

    The defects of an image are written before its row, so none of these can be missing, unless
    the file was changed; that raises UserError.
    """
    with table.open(newline="", encoding="utf-8") as lines:
        expected = sum(int(row[COUNT] or 0) for row in islice(csv.DictReader(lines), done))
    header = (",".join(columns) + "\n").encode()
    file.touch()
    with file.open("rb+") as content:
        kept = [line for line in islice(content, 1 + expected) if line.endswith(b"\n")]
        if kept[:1] == [header] and len(kept) == 1 + expected:
            content.truncate(sum(map(len, kept)))
            return
        if expected:
            raise UserError(f"{file} lacks defects of {table.name}: remove {file.parent}")
        content.seek(0)
        content.write(header)
        content.truncate()
