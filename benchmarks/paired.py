"""Two or more ways of doing the same, timed in turn within one run."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping


def medians(
    ways: Mapping[str, Callable[[], object]],
    repeats: int,
    warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Seconds of each way, the median of ``repeats`` after ``warm`` unmeasured ones. What else the machine does strikes
    all of them alike: each turn runs every way once. ``clock``: `time.process_time` counts what this process
    computed."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm + repeats):
        for name, way in ways.items():
            begun = clock()
            way()
            if turn >= warm:
                times[name].append(clock() - begun)
    return {name: statistics.median(own) for name, own in times.items()}


def machine() -> str:
    """What was measured on: torch, its threads, cores of the machine and how busy it was."""
    import torch

    busy = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"
    return f"torch {torch.__version__} threads {torch.get_num_threads()} cores {os.cpu_count()} load {busy}"
