"""Processes that share a long work: on this machine, or on a Dask cluster."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from nbutils.litert import cores
from nbutils.paths import UserError

AHEAD = 3  # tasks that each worker has waiting, so that it never does
ATTEMPTS = 5  # of a task whose worker dies
MUCH = "1 GB"  # that a function may hold before Dask warns of it


@contextmanager
def started(scheduler: str | None = None, count: int | None = None) -> Iterator[Callable]:
    """Give what applies a function to items, results in order, on several processes.

    A task whose worker dies is done again by another.

    Parameters
    ----------
    scheduler
        Address of a Dask cluster, as `tcp://host:8786`; none for processes on this machine.
    count
        Of these processes; one for each core if not given.

    Raises
    ------
    UserError
        If the scheduler does not answer.
    """
    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, ValueError) as error:
            raise UserError(
                f"no scheduler answers at {scheduler} ({error}): start one by `dask scheduler`"
            ) from error
        with client:
            yield lambda function, items: _map(client, function, items)
        return
    with (
        LocalCluster(
            n_workers=count or cores(),
            threads_per_worker=1,
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield lambda function, items: _map(client, function, items)


def _map(client: Client, function: Callable, items: Iterable) -> Iterator:
    """Apply a function to items, a few ahead of what is taken.

    The function goes out as a task of its own, so that what it holds is sent to a worker once, and
    again to those that come in the place of one that died.
    """
    with dask.config.set({"distributed.admin.large-graph-warning-threshold": MUCH}):
        held = client.submit(_hold, _Held(function), pure=False, retries=ATTEMPTS)
    running = deque()
    for item in items:
        running.append(client.submit(_apply, held, item, pure=False, retries=ATTEMPTS))
        if len(running) > AHEAD * sum(client.nthreads().values()):
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


class _Held:
    """A function in a box: Dask would take a bare one for a task."""

    def __init__(self, function: Callable):
        self.function = function


def _hold(held: _Held) -> _Held:
    return held


def _apply(held: _Held, item):
    return held.function(item)
