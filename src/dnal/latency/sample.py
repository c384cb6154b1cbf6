"""Architectures to measure: a share of every group's channels, spread over the group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dnal.space.space import Space

LEAST_SHARE = 0.15


def random_shares(space: Space, seed: int) -> list[float]:
    """A share per group, drawn from U(.15, 1); the global random state is not touched."""
    draw = torch.rand(len(space.groups), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (LEAST_SHARE + (1 - LEAST_SHARE) * draw).tolist()


def width_of(width: int, share: float, multiple: int) -> int:
    """The width nearest to a share that is a multiple, at least one of it; a narrower group keeps all."""
    if width <= multiple:
        return width
    return min(width, max(multiple, round(share * width / multiple) * multiple))


def open_at(space: Space, shares: float | Sequence[float], multiple: int = 1) -> Tensor:
    """The open variables, bool (num_gates,), where each group keeps its share; branches are open."""
    if isinstance(shares, float):
        shares = [shares] * len(space.groups)
    result = torch.zeros(space.num_gates, dtype=torch.bool)
    result[space.num_variables :] = True
    for group, share in zip(space.groups, shares, strict=True):
        count = width_of(group.width, share, multiple)
        places = torch.linspace(0, group.width - 1, count, dtype=torch.float64).round().long()
        result[group.variables[places]] = True
    return result


def largest(space: Space, shares: Sequence[float], fits: Callable[[Tensor], bool], multiple: int = 1) -> Tensor:
    """The open variables, bool (num_gates,), at these shares times one factor, the largest of a bisection that fits;
    where none does, the narrowest network. No group is wider than whole."""
    low, high = 0.0, 1 / min(shares)

    def at(factor: float) -> Tensor:
        return open_at(space, [min(1.0, factor * share) for share in shares], multiple)

    if fits(at(high)):
        return at(high)
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(at(middle)) else (low, middle)
    return at(low)
