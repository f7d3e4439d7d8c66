"""The memory of processes, on Linux."""

from pathlib import Path


def family(pid: int) -> set[int]:
    """Return the numbers of a process and of all that it started."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            _, _, fields = (folder / "stat").read_text().rpartition(")")
            parents[int(folder.name)] = int(fields.split()[1])
        except OSError:
            continue
    family = {pid}
    while children := {one for one, parent in parents.items() if parent in family} - family:
        family |= children
    return family


def memory(pid: int) -> float:
    """Return the memory (MB) of a process; pages that it shares count in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
