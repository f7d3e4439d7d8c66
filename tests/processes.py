"""What processes hold in memory; of Linux."""

from pathlib import Path


def family(pid: int) -> set[int]:
    """Return the numbers of a process and of all that it started."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(place.name)] = int(
                (place / "stat").read_text().rpartition(")")[2].split()[1]
            )
        except OSError:
            continue
    wanted = {pid}
    while found := {one for one, parent in parents.items() if parent in wanted} - wanted:
        wanted |= found
    return wanted


def memory(pid: int) -> float:
    """Return the memory (MB) of a process; pages that it shares count in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
