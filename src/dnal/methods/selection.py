"""The best set of variables that fits a budget exactly, given a score per variable. Every method ends here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dnal.space.cost import CostFunction
from dnal.space.space import Space


def fits(costs: Mapping[str, CostFunction], limits: Mapping[str, float], open_variables: Tensor) -> bool:
    """Whether a set of open variables (bool or 0/1, shape (num_variables,)) keeps every limit."""
    return all(float(costs[name](open_variables)) <= limit for name, limit in limits.items())


def ranked(scores: Tensor, groups: Sequence[Tensor]) -> tuple[Tensor, int]:
    """Variables from most to least wanted, the best of each group first.

    Returns the order, shape (num_variables,), and how many at its head must stay (one a group).
    """
    must = torch.zeros_like(scores, dtype=torch.bool)
    for variables in groups:
        must[variables[scores[variables].argmax()]] = True
    order = torch.argsort(scores, descending=True, stable=True)
    return torch.cat((order[must[order]], order[~must[order]])), int(must.sum())


def longest_fitting(order: Tensor, least: int, costs: Mapping[str, CostFunction], limits: Mapping[str, float]) -> int:
    """How many of ``order``'s first variables fit the limits: a binary search, since opening more never costs less."""
    low, high = least, order.numel()
    open_variables = torch.zeros(order.numel(), dtype=torch.bool, device=order.device)
    while low < high:
        middle = (low + high + 1) // 2
        open_variables.zero_()
        open_variables[order[:middle]] = True
        low, high = (middle, high) if fits(costs, limits, open_variables) else (low, middle - 1)
    return low


def select(space: Space, scores: Tensor, limits: Mapping[str, float]) -> Tensor:
    """Opens the best-scored variables that fit all limits exactly: the longest prefix of the ranking, then whatever
    further variable still fits, in order. Each group keeps at least one.

    Args:
        scores: (num_variables,), higher = kept first. limits: cost name -> bound in its own unit.

    Returns:
        bool tensor (num_variables,).
    """
    scores = scores.detach().cpu()
    order, least = ranked(scores, [group.variables for group in space.groups])
    count = longest_fitting(order, least, space.costs, limits)
    open_variables = torch.zeros(space.num_gates, dtype=torch.bool)
    open_variables[order[:count]] = True
    group_of = torch.empty(space.num_variables, dtype=torch.long)
    for number, group in enumerate(space.groups):
        group_of[group.variables] = number
    full: set[int] = set()  # opening one more channel of these breaks the budget, and will again
    for variable in order[count:].tolist():
        if int(group_of[variable]) in full:
            continue
        open_variables[variable] = True
        if not fits(space.costs, limits, open_variables):
            open_variables[variable] = False
            full.add(int(group_of[variable]))
    return open_variables


def least_costs(space: Space) -> dict[str, float]:
    """The smallest cost of each kind that any architecture has: one channel in every group."""
    open_variables = torch.zeros(space.num_gates, dtype=torch.bool)
    for group in space.groups:
        open_variables[group.variables[0]] = True
    return space.cost_of(open_variables)
