"""The best set of variables that fits a budget exactly, given a score per variable. Every method ends here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dnal.methods.ranking import Ranking
from dnal.methods.widths import Widths
from dnal.space.cost import CostFunction
from dnal.space.space import Space


def fits(costs: Mapping[str, CostFunction], limits: Mapping[str, float], open_variables: Tensor) -> bool:
    """Whether a set of open variables (bool or 0/1, shape (num_gates,)) keeps every limit."""
    return all(float(costs[name](open_variables)) <= limit for name, limit in limits.items())


def longest(least: int, most: int, fitting: Callable[[int], bool]) -> int:
    """The largest number from ``least`` to ``most`` that fits, where every smaller one fits too (``least`` is not
    asked). Steps from ``least`` double, then halve: few questions where the answer is near."""
    low, step = least, 1
    while low < most and fitting(min(low + step, most)):
        low, step = min(low + step, most), 2 * step
    high = low if low == most else min(low + step, most) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fitting(middle) else (low, middle - 1)
    return low


def select(space: Space, scores: Tensor, limits: Mapping[str, float], widths: Widths | None = None) -> Tensor:
    """Opens the best-scored variables that fit all limits exactly: the longest prefix of the ranking, then whatever
    further chunk still fits, in order. Each group keeps at least one variable and a width that ``widths`` allows; by
    default it may have every width.

    Args:
        scores: (num_gates,), higher = kept first. limits: cost name -> bound in its own unit.

    Returns:
        bool tensor (num_gates,).
    """
    ranking = Ranking(space, widths)
    place_of_variable, place_of_chunk = ranking.places(scores.detach().cpu())
    group_at = torch.empty_like(place_of_chunk)
    group_at[place_of_chunk] = ranking.group_of
    queue, opened = torch.arange(ranking.chunks), ranking.must  # the places that may still open
    while True:
        turn = torch.full((ranking.chunks,), queue.numel())
        turn[queue] = torch.arange(queue.numel())
        turn_of_variable = turn[place_of_variable]

        def fitting(count: int, turns: Tensor = turn_of_variable) -> bool:
            return fits(space.costs, limits, turns < count)

        opened = longest(opened, queue.numel(), fitting)
        if opened == queue.numel():
            return turn_of_variable < opened
        # one more chunk of this group breaks the budget, and will again
        rest = queue[opened:]
        queue = torch.cat((queue[:opened], rest[group_at[rest] != group_at[rest[0]]]))


def least_costs(space: Space, widths: Widths | None = None) -> dict[str, float]:
    """The smallest cost of each kind that any architecture has: the least width in every group, every branch closed."""
    widths = widths or Widths()
    open_variables = torch.zeros(space.num_gates, dtype=torch.bool)
    for group in space.groups:
        open_variables[group.variables[: widths.allowed_in(space, group)[0]]] = True
    return space.cost_of(open_variables)
