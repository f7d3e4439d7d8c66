"""Jobs in a thread of their own: one after the other, each a step at a time, and drawn seldom."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, Queue
from threading import Thread

REDRAW = 0.4  # seconds from one drawing to the next while there is work


class Worker:
    """Do jobs in a thread; no error ends it, after which nothing would be done.

    Parameters
    ----------
    step
        Called after each step of a job.
    draw
        Called seldom while there is work.
    finish
        Called when all is done, with what is to be said of it.
    fail
        Called with an error in words.
    """

    def __init__(
        self,
        step: Callable[[], None],
        draw: Callable[[], None],
        finish: Callable[[list[str]], None],
        fail: Callable[[str], None],
    ):
        self.step, self.draw, self.finish, self.fail = step, draw, finish, fail
        self.jobs: Queue[tuple[int | None, Iterator[None]]] = Queue()
        self.generation = 0  # of jobs; older ones are given up
        self.drawn = 0.0  # when; 0 where there is no work
        self.notices: list[str] = []  # to be said in the end
        Thread(target=self._work, daemon=True).start()

    def begin(self, job: Callable[[Callable[[], bool]], Iterator[None]]) -> None:
        """Add a job, which is told how to know that it is given up, and goes on step by step."""
        generation = self.generation
        self.jobs.put((generation, job(lambda: generation != self.generation)))

    def begin_lasting(self, steps: Iterator[None]) -> None:
        """Add a job that is not given up."""
        self.jobs.put((None, steps))

    def stop(self) -> None:
        """Give up what is not yet done."""
        self.generation += 1

    def note(self, text: str) -> None:
        """Have something said in the end."""
        self.notices.append(text)

    def _work(self) -> None:
        while True:
            try:
                generation, steps = self.jobs.get(timeout=REDRAW if self.drawn else None)
            except Empty:
                self._attempt(self._finish)
                continue
            self._attempt(partial(self._do, generation, steps))
            self.jobs.task_done()

    def _attempt(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            text = str(error) or type(error).__name__
            self.fail(text)
            if self.drawn:
                self.note(text)

    def _do(self, generation: int | None, steps: Iterator[None]) -> None:
        if not self.drawn:
            self._draw()
        while generation in (None, self.generation):
            try:
                next(steps)
            except StopIteration:
                return
            self.step()
            if time.monotonic() - self.drawn > REDRAW:
                self._draw()

    def _draw(self) -> None:
        self.drawn = time.monotonic()
        self.draw()

    def _finish(self) -> None:
        self.drawn, notices, self.notices = 0.0, self.notices, []
        self.finish(notices)
