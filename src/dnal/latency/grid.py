"""Where a layer is timed, and what lies between: piecewise linear in every axis, and never less where more is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SHARES = (0.0, 0.15, 0.4, 0.7, 1.0)
"""Of the whole width, where a layer is timed."""

BLOCK = 16
"""Kernels for vector units work on blocks of channels: their time is a staircase. A width in the middle of its stair
stands for the ones around it."""

Array = npt.NDArray[np.float64]


def rounded(width: int, share: float, multiple: int) -> int:
    """A width of about this share that stands for those near it, at least 1 and a multiple if it is wide enough."""
    if share == 1 or width <= multiple:
        return width
    near = share * width
    if multiple > 1:
        return min(width, max(multiple, round(near / multiple) * multiple))
    if width < 2 * BLOCK:
        return max(1, round(near))
    return min(width, int(near) // BLOCK * BLOCK + BLOCK // 2 + 1) if share else 1


def knots(width: int, multiple: int) -> list[int]:
    """The widths at which a layer of this width is timed, ascending."""
    return sorted({rounded(width, share, multiple) for share in SHARES})


def monotone(times: Array) -> Array:
    """The middle between the least and the greatest monotone array around ``times``; itself, if that is monotone."""
    above, below = times, times
    for axis in range(times.ndim):
        above = np.maximum.accumulate(above, axis=axis)
        below = np.flip(np.minimum.accumulate(np.flip(below, axis=axis), axis=axis), axis=axis)
    return np.asarray((above + below) / 2, dtype=np.float64)


@dataclass(frozen=True)
class Table:
    """Milliseconds of a layer over a grid.

    Attributes:
        knots: per axis ascending positions; axes of size 1 and absent ones do not vary.
        ms: shape (number of knots of each axis).
    """

    knots: tuple[tuple[float, ...], ...]
    ms: Array

    @staticmethod
    def of(knots: Sequence[Sequence[float]], ms: Array) -> Table:
        """With times that are made monotone."""
        return Table(tuple(tuple(map(float, axis)) for axis in knots), monotone(np.asarray(ms, dtype=np.float64)))


class Interpolation:
    """Many tables of at most two axes at once.

    Args:
        tables: one per term.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        most = max((len(axis) for table in tables for axis in table.knots), default=1)
        most = max(most, 2)
        places = np.zeros((len(tables), 2, most))
        values = np.zeros((len(tables), most, most))
        for number, table in enumerate(tables):
            ms = table.ms.reshape((*table.ms.shape, *(1,) * (2 - table.ms.ndim)))
            values[number] = np.pad(ms, [(0, most - n) for n in ms.shape], mode="edge")
            for axis in range(2):
                own = table.knots[axis] if axis < len(table.knots) else (0.0,)
                places[number, axis] = [*own, *(own[-1] + 1 + i for i in range(most - len(own)))]
        self._places, self._values = torch.from_numpy(places), torch.from_numpy(values)

    def __call__(self, positions: Tensor) -> Tensor:
        """Milliseconds per table, shape (tables,); positions: (tables, 2), beyond the knots as at the nearest."""
        if self._places.device != positions.device:
            self._places, self._values = self._places.to(positions.device), self._values.to(positions.device)
        places, most = self._places, self._places.size(-1)
        upper = torch.searchsorted(places, positions.detach().unsqueeze(-1)).clamp(1, most - 1)
        low, high = places.gather(-1, upper - 1).squeeze(-1), places.gather(-1, upper).squeeze(-1)
        share = ((positions - low) / (high - low)).clamp(0, 1)
        row, column = upper[:, 0, 0], upper[:, 1, 0]
        term = torch.arange(places.size(0), device=places.device)
        x, y = share[:, 0], share[:, 1]
        corner = self._values
        return (1 - x) * ((1 - y) * corner[term, row - 1, column - 1] + y * corner[term, row - 1, column]) + x * (
            (1 - y) * corner[term, row, column - 1] + y * corner[term, row, column]
        )
