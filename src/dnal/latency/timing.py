"""The grid of a layer, timed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dnal.latency.allocator import steady_memory
from dnal.latency.backends.backend import Backend
from dnal.latency.cache import Cache
from dnal.latency.grid import ALIGNED, BLOCK, SHARES, Interpolation, Table, knots, misaligned, rounded
from dnal.latency.layers import Layer, Shapes

TURNS = (3, 12)
"""Least and most turns over the points of a grid."""

SECONDS = 1.5
"""After the least number of turns, a layer's grid takes no more than this."""

SAMPLE_MS = 1.0
"""A layer that is quicker runs several times in a turn."""

MOST_RUNS = 20

LEAST_PENALTY, MOST_PENALTY = 0.8, 20.0
"""Of misaligned channels; what lies beyond is a disturbed measurement."""


@dataclass(frozen=True)
class Grid:
    """Where a layer is timed.

    Attributes:
        knots: positions per axis.
        points: the shapes of its inputs at every point, the last axis first.
        misaligned: per axis the shapes at widths that suit no kernel, and these widths.
    """

    knots: list[list[float]]
    points: list[Shapes]
    misaligned: list[tuple[list[Shapes], list[tuple[int, ...]]]]

    @staticmethod
    def of(layer: Layer, multiple: int, elements: Callable[[float], float]) -> Grid:
        """``elements``: that it touches where every size that varies has this share."""
        if layer.by_width:
            least = math.lcm(multiple, max(1, layer.groups))
            widths = [layer.width(axis + 1) for axis in range(layer.axes)]
            axes = [knots(width, least) for width in widths]
            odd = []
            for axis, width in enumerate(widths if least % BLOCK else []):
                middle = [rounded(n, 0.6, least) for n in widths]
                others = [(*middle[:axis], n, *middle[axis + 1 :]) for n in misaligned(width) if layer.groups < 2]
                odd.append(([layer.shapes_at(at) for at in others], others))
            points = [layer.shapes_at(at) for at in product(*axes)]
            return Grid([list(map(float, axis)) for axis in axes], points, odd)
        if not layer.axes:
            return Grid([[elements(1.0)]], [layer.shapes], [])
        found = {elements(s): layer.resized(lambda n, s=s: rounded(n, s, multiple)) for s in SHARES}  # type: ignore[misc]
        return Grid([sorted(found)], [found[at] for at in sorted(found)], [])


def timed(backend: Backend, layer: Layer, grid: Grid, cache: Cache | None) -> Table | None:
    """The table of a layer; None where the backend cannot run it by itself. What the cache knows is not timed again."""
    points = grid.points + [shapes for shapes_of_axis, _ in grid.misaligned for shapes in shapes_of_axis]
    key = f"{layer.key} at {[list(map(list, shapes)) for shapes in points]}"
    if cache is not None and cache.knows(key, len(points)):
        ms = cache[key]
    else:
        ms = _measured(backend, layer, points)
        if cache is not None:
            cache[key] = ms
    if ms is None:
        return None
    own = np.array(ms[: len(grid.points)], dtype=np.float64).reshape([len(axis) for axis in grid.knots])
    plain = Table.of(grid.knots, own)
    rest = iter(ms[len(grid.points) :])
    penalties = []
    for _, widths in grid.misaligned:
        aligned = Interpolation([plain])
        factors = [next(rest) / max(1e-9, aligned.at(at)) for at in widths]
        penalties.append((*(min(max(f, LEAST_PENALTY), MOST_PENALTY) for f in factors), 1.0) if factors else ALIGNED)
    return Table.of(grid.knots, own, penalties)


def _measured(backend: Backend, layer: Layer, points: Sequence[Shapes]) -> list[float] | None:
    """Milliseconds per point: the least of interleaved turns, since disturbances only ever add."""
    runs = []
    for shapes in points:
        run = backend.layer(layer, shapes)
        if run is None:
            return None
        runs.append(run)
    begun = time.perf_counter()
    with steady_memory():
        best = [run(2) for run in runs]
        times = [max(1, min(MOST_RUNS, round(SAMPLE_MS / max(ms, 1e-6)))) for ms in best]
        for turn in range(TURNS[1]):
            if turn >= TURNS[0] - 1 and time.perf_counter() - begun > SECONDS:
                break
            best = [min(ms, run(n)) for ms, run, n in zip(best, runs, times, strict=True)]
    return best
