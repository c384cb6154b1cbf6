"""Jobs side by side, each in a process with one thread that ends when the one that started it does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.synchronize import Event
from typing import Any, Generic, NamedTuple, TypeVar

STOPPED = "stopped"
"""What a job answers that was stopped and goes on another time."""
PATIENCE = 0.5
"""Seconds between two looks at the clock and at the signals."""

J = TypeVar("J")

_stop: Callable[[], bool] = lambda: False  # noqa: E731


class Left(NamedTuple, Generic[J]):
    """What was not done: the jobs in their order, and whether a process was killed."""

    jobs: list[J]
    killed: bool


def stop_asked() -> bool:
    """Whether the job in this process is to stop soon."""
    return _stop()


def side_by_side(
    work: Callable[..., str],
    jobs: Sequence[J],
    *,
    arguments: Callable[[J], tuple[Any, ...]],
    at_once: int,
    stop: Callable[[], bool],
    ended: Callable[[J, str], None],
    ready: Callable[[J], bool] = lambda job: True,
    weight: Callable[[J], float] = lambda job: 0.0,
) -> Left[J]:
    """Does jobs, so many at once.

    Args:
        work: a function of a module, called in a process with ``arguments(job)``; its answer is STOPPED, or anything
            that ``ended`` understands.
        arguments: asked when the job begins. ready: whether a job can begin now; one that never can is left.
        weight: of the jobs that can begin, the one with the largest weight begins first; of equal ones, the first.
        stop: asked all the time; nothing more is begun then, and :func:`stop_asked` says so to jobs in progress.
        ended: called with every job that ended, and its answer.
    """
    waiting = list(jobs)
    if not waiting:
        return Left([], False)
    context = get_context("spawn")
    event = context.Event()
    running: dict[Future[str], J] = {}
    killed = False
    with ProcessPoolExecutor(min(at_once, len(waiting)), context, _begin, (event,)) as pool, _set_on_error(event):
        while waiting or running:
            if stop():
                event.set()
            able = sorted(filter(ready, waiting), key=weight, reverse=True)
            for job in able[: 0 if event.is_set() or killed else at_once - len(running)]:
                waiting.remove(job)
                running[pool.submit(work, *arguments(job))] = job
            if not running:
                break
            done, _ = wait(running, timeout=PATIENCE, return_when=FIRST_COMPLETED)
            for future in done:
                job = running.pop(future)
                try:
                    answer = future.result()
                except BrokenProcessPool:
                    killed = True
                    waiting.append(job)
                    continue
                if answer == STOPPED:
                    waiting.append(job)
                    continue
                ended(job, answer)
    return Left(waiting, killed)


@contextmanager
def _set_on_error(event: Event) -> Iterator[None]:
    """The jobs in progress are stopped when something is wrong."""
    try:
        yield
    except BaseException:
        event.set()
        raise


def _begin(stop: Event) -> None:
    """Makes this process a worker of one thread: it stops when ``stop`` is set, and ends when its parent does."""
    global _stop
    _stop = stop.is_set
    os.environ["OMP_NUM_THREADS"] = "1"  # torch, where it is imported from here on, and all libraries under it
    # Ctrl-C goes to the parent too, which sets ``stop``. SIGTERM must end a worker: with it the pool ends the others
    # when one was killed.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # at once, as if killed: a job goes on from any moment
