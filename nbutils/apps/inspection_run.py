"""Run an inspection into a folder of its own, once or as images arrive, with its page."""

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbutils import disk, runs
from nbutils.apps import inspection, inspection_page
from nbutils.apps.inspection import Summary
from nbutils.data import image_list
from nbutils.disk import UserError
from nbutils.inference import batch, resumption, watch
from nbutils.runtime import usable_cores

PAGE_SECONDS = 60  # between two pages of a watched folder
PAGE_SHARE = 0.1  # of the time, at most, that goes into its pages


@dataclass(frozen=True)
class Inspection:
    """What is inspected, and by what; the results are in a folder below `outputs`."""

    sources: Sequence[str]
    name: str  # of the run; empty to name it after the first source
    model: str
    backend: str | None
    bits: int | None
    scale: float
    max_review_rows: int  # on the page

    def run(self, scheduler: str, workers: int | None) -> tuple[Path, Path, Summary]:
        """Inspect all images (`batch.inspect`); by default, a worker has two cores.

        Returns the table, the page, and what it sums up.
        """
        image_list.list_images(self.sources)  # raises before there is a folder
        folder, workers = self._make_folder(), workers or max(usable_cores() // 2, 1)
        how = self.model, self.backend, scheduler, workers, self.bits, self.scale
        table = batch.inspect(self.sources, folder, *how)
        return table, *self._write_page(folder)

    def watch(self, say: Callable[[str], None]) -> None:
        """Inspect images as they arrive, until Ctrl-C; the page: once a minute at most."""
        source, due = self.sources[0], -math.inf
        if len(self.sources) > 1 or not source or not disk.expand_user(source).is_dir():
            raise UserError(f"--watch takes one folder in which images arrive, not {source}")
        folder, total, changed = self._make_folder(), 0, False
        how = self.model, self.backend, self.bits, self.scale
        try:
            for added in watch.watch(source, folder, *how):
                total, changed = total + added, changed or added > 0
                start = time.monotonic()
                if changed and start >= due:
                    page, _ = self._write_page(folder)
                    say(f"{total:,} images since the start: {page}")
                    changed, now = False, time.monotonic()
                    due = now + max(PAGE_SECONDS, (now - start) / PAGE_SHARE)
        except KeyboardInterrupt:
            if changed:
                self._write_page(folder)
            say(f"Stopped after {total:,} images: the same command goes on. {folder}")

    def _make_folder(self) -> Path:
        """Create the folder, once there is no mistake in how images are read."""
        resumption.find_method(self.model, self.backend, self.bits, self.scale)
        source = disk.expand_user(self.sources[0])
        stem = source.name if source.is_dir() else source.stem
        stem = re.sub(r"[^\w.-]+", "", stem)  # without a pattern's signs
        name = f"{self.name}/inspection" if self.name else f"inspection_{stem or 'all'}"
        return runs.create_run(name)

    def _write_page(self, folder: Path) -> tuple[Path, Summary]:
        """Write the page; return it, and what it sums up."""
        summary = inspection.summarize(folder, self.max_review_rows)
        return inspection_page.write(folder, summary), summary
