"""Inspect all images of a folder, a pattern, or a CSV file with a column `path`.

python -m nbutils.inspect SOURCE [--run RUN] [--model MODEL] [--scheduler tcp://...]
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from nbutils import inspection, paths
from nbutils.paths import UserError
from nbutils.predict import BACKENDS, DEFAULT_MODEL, fastest

SHOWN = 200  # of the review queue on the page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser("python -m nbutils.inspect", description=__doc__)
    parser.add_argument("source", help="a folder, a pattern in quotes, or a CSV file")
    parser.add_argument("--run", help="folder below outputs/ (default: inspection_ and the source)")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="run or reference model")
    parser.add_argument("--backend", choices=BACKENDS, help="default: litert where exported")
    parser.add_argument("--scheduler", help="address of a Dask cluster (default: this machine)")
    parser.add_argument("--workers", type=int, help="processes on this machine (default: cores)")
    parser.add_argument("--shown", type=int, default=SHOWN, help="images to review on the page")
    chosen = parser.parse_args(arguments)
    from nbutils import inspection_page, workers

    try:
        stem = re.sub(r"[^\w.-]+", "", Path(chosen.source).stem)  # without a pattern's signs
        run = paths.run_folder(chosen.run or f"inspection_{stem or 'all'}")
        backend = chosen.backend or fastest(chosen.model)
        with workers.started(chosen.scheduler, chosen.workers) as several:
            table = inspection.inspect(chosen.source, run, chosen.model, backend, several)
        page = inspection_page.write(run, inspection_page.summarize(run, chosen.shown))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{table}\n{page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
