"""The best set of variables that fits a budget exactly, given a score per variable. Every method ends here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.selection.opening import Opening
from dnal.selection.ranking import Ranking
from dnal.selection.widths import WidthRule
from dnal.space.cost import CostFunction
from dnal.space.space import Space

CLOSE = 0.99
"""The share of a limit that counts as used up."""
ENOUGH = 0.95
"""The share of a limit below which other branches open than those that are wanted most."""


def fits(costs: Mapping[str, CostFunction], limits: Mapping[str, float], open_variables: Tensor) -> bool:
    """Whether a set of open variables (bool or 0/1, shape (num_gates,)) keeps every limit."""
    return all(float(costs[name](open_variables)) <= limit for name, limit in limits.items())


def check_limits(space: Space, limits: Mapping[str, Any]) -> None:
    """Refuses what is no limit on a cost of the space.

    Raises:
        UserError: anything but numbers above zero by the names of costs.
    """
    made = "dnal.Budget.parse('macs<=30%').limits(space.full_cost) makes such limits"
    if not isinstance(limits, Mapping):
        raise UserError(f"limits are a dictionary of a number for each cost, not a {type(limits).__name__}; {made}.")
    for name, limit in limits.items():
        if name not in space.costs:
            raise UserError(
                f"this space does not state the cost '{name}'; it states {', '.join(space.costs)}, and takes another "
                "with Space.with_cost."
            )
        try:
            number = 0.0 if isinstance(limit, str) else float(limit)
        except (TypeError, ValueError):
            number = 0.0
        if not number > 0:
            raise UserError(f"the limit of {name} is a number above zero in its own unit, not {limit!r}; {made}.")


def unreachable(name: str, limit: float, least: float) -> UserError:
    """The refusal of a limit below the least cost."""
    return UserError(f"the limit {name}<={limit:g} cannot be kept: the least widths of these groups have {least:g}.")


def select(space: Space, scores: Tensor, limits: Mapping[str, float], widths: WidthRule | None = None) -> Tensor:
    """Opens the best-scored variables that fit all limits exactly: the longest prefix of the ranking, then whatever
    further chunk still fits, in order. Each group keeps at least one variable and a width that ``widths`` allows; by
    default it may have every width. Where several channels open at once, and so less than 99 % of every limit would be
    used, one chunk that would have opened stays closed, or one that would not opens before the others; where branches
    come with all that is in them, and so less than 95 % would be used, another branch opens before that.

    Args:
        scores: (num_gates,), higher = kept first. limits: cost name -> bound in its own unit.

    Returns:
        bool tensor (num_gates,).

    Raises:
        UserError: for a limit that no architecture keeps, and for scores or limits that are none.

    Examples:
        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> space = dnal.Space.of(network, torch.randn(2, 3, 8, 8))
        >>> scores = torch.tensor([0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5])
        >>> dnal.select(space, scores, {"macs": 0.5 * space.full_cost["macs"]}).nonzero().flatten()
        tensor([1, 3, 5, 7])
    """
    check_limits(space, limits)
    if not isinstance(scores, Tensor) or scores.shape != (space.num_gates,):
        given = f"of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise UserError(
            f"the scores are a tensor of shape ({space.num_gates},), one number for each channel variable of this "
            f"space, then for each branch, not {given}."
        )
    if bool(scores.isnan().any()):
        raise UserError(
            f"{int(scores.isnan().sum())} of the {space.num_gates} scores are no number (NaN), so that nothing ranks "
            "them: look for a loss that diverged, and lower its learning rate."
        )
    ranking = Ranking(space, widths)
    order = ranking.order(scores.detach().cpu())
    for name, limit in limits.items():
        least = float(space.costs[name](order.place < ranking.must))
        if least > limit:
            raise unreachable(name, limit, least)

    opening = Opening(order, space.costs, limits)
    return opening.gates(filled(opening, ranking.must, widths=ranking.coarse))


def filled(opening: Opening, must: int, *, widths: bool, may: Tensor | None = None) -> Tensor:
    """The state in which the limits are used up, as far as one exchange does it where the order alone leaves much.

    Widths that rise one by one fill any limit. What may not fit is a step of several channels, or a branch: the
    channels within it cost nothing while it is closed, so that they open before it, and it would come with all of them
    at once. Where it opens before all others, they follow as far as there is room.

    Args:
        must: chunks at the head of the order that stay. widths: whether groups of channels are exchanged too, or
            branches alone. may: bool (chunks,): the places of those that may open; by default all.
    """

    def allowed(queue: Tensor) -> Tensor:
        return queue if may is None else queue[may[queue]]

    enough = CLOSE if widths else ENOUGH
    chosen = opening.filled(must, None if may is None else may.nonzero().flatten())
    share = opening.used(chosen)
    for opened, queue in opening.exchanges(chosen, must, widths=widths):
        if share >= enough:
            break
        other = opening.filled(opened, allowed(queue))
        used = opening.used(other)
        if share < used <= 1:
            chosen, share = other, used
    return chosen


def least_costs(space: Space, widths: WidthRule | None = None) -> dict[str, float]:
    """The smallest cost of each kind that any architecture has: the least width in every group, every branch closed,
    except for one of each choice, the one with the fewest MACs."""
    widths = widths or WidthRule()
    open_variables = torch.zeros(space.num_gates, dtype=torch.bool)
    for group in space.groups:
        open_variables[group.variables[: widths.allowed_in(space, group)[0]]] = True
    for choice in space.choices:
        with_each = []
        for variable in choice.tolist():
            tried = open_variables.clone()
            tried[variable] = True
            with_each.append((float(space.costs["macs"](tried)), variable))
        open_variables[min(with_each)[1]] = True
    return space.cost_of(open_variables)
