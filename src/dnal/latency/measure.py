"""Wall-clock time, measured in turn so that the machine's moods hit everything alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from dnal.latency.allocator import steady_memory

Run = Callable[[], float]
"""Runs something once and returns the milliseconds it took."""


def medians(
    runs: Sequence[Run], *, least: int, most: int | None = None, seconds: float = 0.0, warm_up: int = 2
) -> list[float]:
    """Median milliseconds of each, over interleaved turns.

    Args:
        least, most: turns; between them as many as fit into ``seconds``.
        warm_up: turns before them that do not count.
    """
    times: list[list[float]] = [[] for _ in runs]
    with steady_memory():
        for _ in range(warm_up):
            for run in runs:
                run()
        begun = time.perf_counter()
        turn = 0
        while turn < least or (turn < (most or least) and time.perf_counter() - begun < seconds):
            for run, own in zip(runs, times, strict=True):
                own.append(_settled(run))
            turn += 1
    return [statistics.median(own) for own in times]


def _settled(run: Run) -> float:
    """Milliseconds of a run for which everything is prepared: the libraries keep the kernels that they make for a shape
    in caches of limited size, and the networks before it in a turn may have used them up. Making them takes some tens
    of milliseconds."""
    run()
    return run()
