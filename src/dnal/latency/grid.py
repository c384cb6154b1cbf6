"""Where a layer is timed, and what lies between: piecewise linear in every axis, and never less where more is open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

SHARES = (0.0, 0.15, 0.4, 0.7, 1.0)
"""Of the whole width, where a layer is timed."""

BLOCK = 16
"""Kernels for vector units work on blocks of channels: a width that is no multiple of a block may take longer than the
next larger one that is."""

DIVISORS = (1, 2, 4, 8, 16)
"""Greatest common divisors of a width and a block. Widths with the same one are taken to be equally well aligned."""

Array = npt.NDArray[np.float64]


def rounded(width: int, share: float, multiple: int) -> int:
    """The width near this share where a layer is timed: a multiple of blocks and of ``multiple``, at the ends 1 (or
    one multiple) and the whole width."""
    if share == 1 or width <= multiple:
        return width
    if share == 0:
        return multiple
    step = multiple if multiple > BLOCK or width < 2 * BLOCK else math.lcm(multiple, BLOCK)
    return min(width, max(step, round(share * width / step) * step))


def knots(width: int, multiple: int) -> list[int]:
    """The widths at which a layer of this width is timed, ascending."""
    return sorted({rounded(width, share, multiple) for share in SHARES})


def misaligned(width: int) -> list[int]:
    """Widths near the middle of this one, one for each divisor but the last; none where no block fits."""
    middle = max(BLOCK, int(0.6 * width) // BLOCK * BLOCK)
    return [middle - offset for offset in (7, 6, 4, 8)] if width >= BLOCK else []


def penalty_of(penalties: Sequence[float], width: int) -> float:
    """The factor on the time of aligned channels at this width."""
    return penalties[DIVISORS.index(math.gcd(width, BLOCK))]


def joint(penalties: Sequence[Sequence[float]], widths: Sequence[Sequence[Sequence[int]]]) -> Array:
    """The factor at every point of a grid, where each knot of an axis stands for one or several widths: the mean over
    them of the largest of the axes' factors. A kernel that suits neither inputs nor outputs is no worse than one that
    does not suit the inputs: what is slow is that another kernel runs.

    Args:
        penalties: per axis, by divisor. widths: per axis and knot.
    """
    own = [[np.array([penalty_of(p, w) for w in at]) for at in axis] for p, axis in zip(penalties, widths, strict=True)]
    shape = [len(axis) for axis in own]
    means = [
        reduce(np.maximum.outer, [axis[at] for axis, at in zip(own, place, strict=True)]).mean()
        for place in np.ndindex(*shape)
    ]
    return np.array(means, dtype=np.float64).reshape(shape)


def monotone(times: Array) -> Array:
    """The middle between the least and the greatest monotone array around ``times``; itself, if that is monotone."""
    above, below = times, times
    for axis in range(times.ndim):
        above = np.maximum.accumulate(above, axis=axis)
        below = np.flip(np.minimum.accumulate(np.flip(below, axis=axis), axis=axis), axis=axis)
    return np.asarray((above + below) / 2, dtype=np.float64)


ALIGNED = (1.0,) * len(DIVISORS)


@dataclass(frozen=True)
class Table:
    """Milliseconds of a layer over a grid.

    Attributes:
        knots: per axis ascending positions; none for a layer that does not vary.
        ms: shape (number of knots of each axis), of aligned channels.
        penalties: per axis the factor at a width, by its greatest common divisor with a block (``DIVISORS``).
    """

    knots: tuple[tuple[float, ...], ...]
    ms: Array
    penalties: tuple[tuple[float, ...], ...] = ()

    @staticmethod
    def of(knots: Sequence[Sequence[float]], ms: Array, penalties: Sequence[Sequence[float]] = ()) -> Table:
        """Of measured times, which are made monotone; with penalties, those of the knots are taken out of them."""
        ms = np.array(ms, dtype=np.float64)
        if penalties:
            ms = ms / joint(penalties, [[[round(at)] for at in axis] for axis in knots])
        return Table(tuple(tuple(map(float, axis)) for axis in knots), monotone(ms), tuple(map(tuple, penalties)))

    def expected(self, multiple: int) -> Table:
        """Milliseconds at widths that are multiples, whatever else they are; exact for the whole network."""
        if not self.penalties:
            return self
        several = [multiple * k for k in range(1, BLOCK + 1)]
        widths = [[*(several for _ in axis[:-1]), [round(axis[-1])]] for axis in self.knots]
        return Table(self.knots, monotone(self.ms * joint(self.penalties, widths)))


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

    def at(self, position: Sequence[float]) -> float:
        """Milliseconds of the only table at one position per axis."""
        padded = [*position, *(0.0,) * (2 - len(position))]
        return float(self(torch.tensor([padded], dtype=torch.float64)))
