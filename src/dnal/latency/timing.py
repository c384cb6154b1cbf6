"""The grid of a layer, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from dnal.latency.backends.backend import Backend
from dnal.latency.cache import Cache
from dnal.latency.grid import SHARES, Table, knots, rounded
from dnal.latency.layers import Layer, Shapes

TURNS = (3, 12)
"""Least and most turns over the points of a grid."""

SECONDS = 1.5
"""After the least number of turns, a layer's grid takes no more than this."""

SAMPLE_MS = 1.0
"""A layer that is quicker runs several times in a turn."""

MOST_RUNS = 20


@dataclass(frozen=True)
class Grid:
    """Where a layer is timed: positions per axis, and the shapes of its inputs at every point, the last axis first."""

    knots: list[list[float]]
    points: list[Shapes]

    @staticmethod
    def of(layer: Layer, multiple: int, elements: Callable[[float], float]) -> Grid:
        """``elements``: that it touches where every size that varies has this share."""
        if layer.by_width:
            multiples = [math.lcm(multiple, max(1, layer.groups))] * layer.axes
            axes = [knots(layer.width(axis + 1), m) for axis, m in enumerate(multiples)]
            return Grid([list(map(float, axis)) for axis in axes], [layer.shapes_at(at) for at in product(*axes)])
        if not layer.axes:
            return Grid([[elements(1.0)]], [layer.shapes])
        found = {elements(s): layer.resized(lambda n, s=s: rounded(n, s, multiple)) for s in SHARES}  # type: ignore[misc]
        return Grid([sorted(found)], [found[at] for at in sorted(found)])


def timed(backend: Backend, layer: Layer, grid: Grid, cache: Cache | None) -> Table | None:
    """The table of a layer; None where the backend cannot run it by itself. What the cache knows is not timed again."""
    key = f"{layer.key} at {[list(map(list, shapes)) for shapes in grid.points]}"
    if cache is not None and key in cache:
        ms = cache[key]
    else:
        ms = _measured(backend, layer, grid)
        if cache is not None:
            cache[key] = ms
    if ms is None:
        return None
    return Table.of(grid.knots, np.array(ms, dtype=np.float64).reshape([len(axis) for axis in grid.knots]))


def _measured(backend: Backend, layer: Layer, grid: Grid) -> list[float] | None:
    """Milliseconds per point: the least of interleaved turns, since disturbances only ever add."""
    runs = []
    for shapes in grid.points:
        run = backend.layer(layer, shapes)
        if run is None:
            return None
        runs.append(run)
    begun = time.perf_counter()
    best = [run(2) for run in runs]
    times = [max(1, min(MOST_RUNS, round(SAMPLE_MS / max(ms, 1e-6)))) for ms in best]
    for turn in range(TURNS[1]):
        if turn >= TURNS[0] - 1 and time.perf_counter() - begun > SECONDS:
            break
        best = [min(ms, run(n)) for ms, run, n in zip(best, runs, times, strict=True)]
    return best
