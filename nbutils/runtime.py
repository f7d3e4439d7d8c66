"""What the machine offers: cores, a network, TensorFlow, and workers on other machines."""

import ctypes
import os
import platform
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbutils.disk import UserError

if TYPE_CHECKING:
    import keras  # noqa: F401  for type checkers, as the names of `__getattr__`
    import tensorflow as tf  # noqa: F401
    from distributed import Client

TIMEOUT = 8  # seconds, to wait for a server
CGROUP_QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"))
TASKS_AHEAD = 3  # that each worker of a cluster has waiting, so that it never idles
ATTEMPTS = 5  # of a task whose worker dies
GRAPH_WARNING = "1 GB"  # size of a function from which Dask warns
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # in the malloc.h of glibc
KEEP_FREED_MEMORY = {M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**26, M_MMAP_MAX: 0}  # bytes, blocks

_stderr_lock = threading.RLock()  # there is one standard error: two silences must not overlap


def __getattr__(name: str) -> Any:
    """Import Keras and TensorFlow when they are first asked for, without the notes of their C++.

    No environment variable silences all of these; `TF_CPP_MIN_LOG_LEVEL=0` keeps them.
    """
    if name not in ("keras", "tf"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    verbose = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0"
    with nullcontext() if verbose else suppress_stderr():
        import keras
        import tensorflow as tf

        tf.config.list_physical_devices()  # it says once, now, why there is no GPU
    _keep_freed_memory()
    globals().update(keras=keras, tf=tf)
    return globals()[name]


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step of a training, which takes half the time.

    By default it gives the memory of each large tensor back to the system at once, and the next
    step waits while the system clears as many new pages.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for setting, value in KEEP_FREED_MEMORY.items():
            libc.mallopt(setting, value)


@contextmanager
def suppress_stderr() -> Iterator[None]:
    """Drop what C++ and Python write to the standard error meanwhile."""
    with _stderr_lock:
        saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(null)


def usable_cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's quota.

    OMP_NUM_THREADS can lower it.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [len(affinity(0)) if affinity else os.cpu_count() or 1, _cgroup_cores()]
    requested = os.environ.get("OMP_NUM_THREADS", "")
    if requested.isdigit() and int(requested):
        limits.append(int(requested))
    return max(min(limits), 1)


def _cgroup_cores() -> int:
    """Return the cores that the control group's quota allows; a large number without one."""
    for file in CGROUP_QUOTAS:
        try:
            quota, *period = file.read_text().split()
            period = period or [(file.parent / "cpu.cfs_period_us").read_text()]
            if quota != "max" and int(quota) > 0:
                return max(round(int(quota) / int(period[0])), 1)
        except (OSError, ValueError):
            continue
    return sys.maxsize


def is_reachable(url: str) -> bool:
    """Tell whether a server answers within `TIMEOUT`, through proxies as requests finds them."""
    answers: list[bool] = []
    probe = threading.Thread(target=lambda: answers.append(_responds(url)), daemon=True)
    probe.start()
    probe.join(TIMEOUT)
    return any(answers)


def _responds(url: str) -> bool:
    import requests

    try:
        return requests.head(url, timeout=TIMEOUT / 2).status_code > 0
    except requests.RequestException:
        return False


def parallel_map(
    function: Callable, items: Iterable, scheduler: str = "", processes: int | None = None
) -> Iterator:
    """Apply a function to items on several processes, results in order as they come.

    Parameters
    ----------
    function, items
        Anything that cloudpickle can send.
    scheduler
        Address of a Dask cluster, as `tcp://host:8786`; empty for processes on this machine. A
        task whose worker dies is done again by another.
    processes
        On this machine; default one for each core.

    Raises
    ------
    UserError
        If the scheduler does not answer, or a process on this machine dies.
    """
    if scheduler:
        with _connect(scheduler) as client:
            yield from _map_on_cluster(client, function, items)
        return
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    workers = Parallel(n_jobs=processes or usable_cores(), return_as="generator")
    try:
        yield from workers(delayed(function)(item) for item in items)
    except TerminatedWorkerError as error:
        raise UserError(
            "a worker process died, as when memory runs out: start again, with fewer processes"
        ) from error


def _connect(scheduler: str) -> "Client":
    from distributed import Client

    try:
        return Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise UserError(
            f"no scheduler answers at {scheduler} ({error}): start one by `dask scheduler`"
        ) from error


def _map_on_cluster(client: "Client", function: Callable, items: Iterable) -> Iterator:
    """Apply a function to items, a few ahead of what is taken.

    The function goes out as a task of its own, so that what it holds is sent to a worker once, and
    again to those that come in the place of one that died.
    """
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": GRAPH_WARNING}):
        shared = client.submit(_share, _Shared(function), pure=False, retries=ATTEMPTS)
    running: deque = deque()
    for item in items:
        running.append(client.submit(_apply, shared, item, pure=False, retries=ATTEMPTS))
        if len(running) > TASKS_AHEAD * sum(client.nthreads().values()):
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


class _Shared:
    """A function in a box: Dask would take a bare one for a task."""

    def __init__(self, function: Callable):
        self.function = function


def _share(shared: _Shared) -> _Shared:
    return shared


def _apply(shared: _Shared, item: Any) -> Any:
    return shared.function(item)


def batched(items: Iterable, size: int) -> Iterator[list]:
    """Return items in lists of a size, the last one shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
