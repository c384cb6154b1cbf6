"""What an attacker meets who looks for one number: how many minima, and how far the right one reaches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.models.quantum.simulator import check_qubits
from dnal.models.quantum.tower import encode

PER_PERIOD = 20
"""Points of the grid in a period of the highest frequency; fewer miss minima."""


class Landscape(NamedTuple):
    """Of the mismatch between 0 and pi.

    Attributes:
        minima: local ones. basin: the share of the places from which descent ends at the right one.
    """

    minima: int
    basin: float


def landscape(
    components: Callable[[Tensor], Tensor], truth: float, highest: int, points: int | None = None
) -> Landscape:
    """Counts on a grid.

    Args:
        components: what is shared: numbers (P, 1) -> (P, L). truth: the secret number, within (0, pi).
        highest: frequency of the components: what a :class:`dnal.models.quantum.circuit.Circuit` has as ``highest``,
            twice that where a loss multiplies two of its outputs. The mismatch has twice that.
        points: of the grid, the truth among them; default: 20 in every period of the mismatch.

    Raises:
        UserError: a grid that is coarser than that, or a truth out of range.

    Examples:
        >>> landscape(torch.cos, 1.0, highest=1)
        Landscape(minima=1, basin=1.0)
        >>> landscape(lambda x: torch.cos(6 * x), 1.0, highest=6).minima
        6
    """
    least = PER_PERIOD * highest  # pi holds as many periods of the mismatch as the highest frequency is
    points = max(least, 200) if points is None else points
    if points < least:
        raise UserError(f"a grid for frequency {highest} has {least} points or more, not {points}: fewer miss minima.")
    if not 0 < truth < math.pi:
        raise UserError(f"the secret number lies between 0 and pi, not at {truth}.")
    before = max(1, min(points - 2, round(points * truth / math.pi)))
    grid = torch.cat([
        truth * torch.arange(before + 1, dtype=torch.float64) / before,
        truth + (math.pi - truth) * torch.arange(1, points - before, dtype=torch.float64) / (points - before - 1),
    ])  # fmt: skip
    found = components(grid[:, None])
    values = (found - found[before]).square().sum(-1)
    low = (values[1:-1] < values[:-2]) & (values[1:-1] <= values[2:])
    high = (values[1:-1] > values[:-2]) & (values[1:-1] >= values[2:])
    tops = torch.cat([grid[:1], grid[1:-1][high], grid[-1:]])
    left, right = tops[tops < truth].max(), tops[tops > truth].min()
    return Landscape(int(low.sum()), float((right - left) / math.pi))


def random_components(per_input: int, base: int, number: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Expectations of random observables W^+ Z W, W even over all unitaries: what an ansatz that can do everything
    shares of one number.

    Args:
        per_input, base: of the tower. number: L, observables. seed: of them.

    Returns:
        numbers (P, 1) -> (P, L).

    Raises:
        UserError: more than 10 qubits.
    """
    check_qubits(per_input)
    size = 2**per_input
    draw = torch.Generator().manual_seed(seed)
    unitaries = random_unitaries(number, size, draw)

    def components(x: Tensor) -> Tensor:
        turned = torch.einsum("lij,pj->pli", unitaries, encode(x, per_input, base))
        chances = turned.abs().square()
        return chances[..., : size // 2].sum(-1) - chances[..., size // 2 :].sum(-1)

    return components


def random_unitaries(number: int, size: int, draw: torch.Generator) -> Tensor:
    """Matrices even over all unitaries, (number, size, size)."""
    normal = torch.randn(number, size, size, dtype=torch.complex128, generator=draw)
    q, r = torch.linalg.qr(normal)
    phases = torch.diagonal(r, dim1=-2, dim2=-1).sgn()
    found: Tensor = q * phases[..., None, :]
    return found
