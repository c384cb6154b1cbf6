"""What architectures cost under the budgets of a job: costs, widths and ranges before training, the selection after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from dnal.costs.budget import Budget
from dnal.costs.deployment import Deployed, known_latency
from dnal.pipeline.plan import Plan
from dnal.selection.select import least_costs, select
from dnal.selection.widths import WidthRule
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs
from dnal.train.listener import Listener

if TYPE_CHECKING:
    from dnal.latency import LatencyModel

CORRECTIONS, CLOSE = 5, 0.97
"""Of a bound on the latency: at most, and the share of it that counts as used up."""
USED = 0.99
"""The share of a limit that widths which processors like must use."""


def priced(
    space: Space,
    plans: list[Plan],
    deployment: Deployed,
    network: nn.Module,
    example: Inputs,
    latency: LatencyModel | str | Path | None,
    listener: Listener,
) -> tuple[Space, list[Plan], LatencyModel | None]:
    """Whatever timing decides: the Space with all costs that the budgets bound, the plans with their divisor and
    backend, and the latency model if a budget asks for one.

    Raises:
        UserError: for a budget that no architecture can keep, with the range that can be reached.
    """
    budgets = [plan.budget for plan in plans if plan.budget is not None]
    bounded = {cost for budget in budgets for cost in budget.costs}
    space = deployment.with_costs(space, network, example, bounded)
    undecided = [_timed(plan) for plan in plans]
    if any(undecided):
        own = [plan.budget for plan, auto in zip(plans, undecided, strict=True) if auto and plan.budget is not None]
        if latency is not None:
            divisor = known_latency(latency).multiple  # decided when it was profiled
        else:
            narrowest = plans[0].asked.widths.min_width
            divisor = deployment.multiple(
                network, space, example, lambda number: _reachable(space, own, WidthRule(narrowest, number))
            )
        plans = _decided(plans, undecided, divisor)
    plans = [plan.with_backend(deployment.backend) for plan in plans]
    _check(space, plans)  # before a profile takes its time
    if "latency" not in bounded:
        return space, plans, None
    counted = space
    while True:
        timed = [plan for plan in plans if plan.budget and "latency" in plan.budget.costs]
        least = min(widths_of(plan, counted).divisor for plan in timed)
        model = deployment.latency(counted, network, example, least, latency, listener.profiling)
        space = counted.with_cost("latency", model.cost(counted))
        too_coarse = any(
            auto and not _reachable(space, [plan.budget], widths_of(plan, space), model)
            for auto, plan in zip(undecided, plans, strict=True)
        )
        if not too_coarse or least == 1 or latency is not None:
            break
        plans = _decided(plans, undecided, least // 2)  # the widths that are fastest must leave the budget in reach
    _check(space, plans, model)
    if latency is None:
        full = full_costs(space, model)
        bounds = {bound.limit(full) for budget in budgets for bound in budget.bounds if bound.cost == "latency"}
        model = deployment.focused(model, counted, network, example, bounds, listener.profiling)
        space = counted.with_cost("latency", model.cost(counted))
        _check(space, plans, model)
    return space, plans, model


def _timed(plan: Plan) -> bool:
    """Whether timing decides about the divisor: the budget bounds the time, and nobody gave one."""
    bounded = plan.budget is not None and "latency" in plan.budget.costs
    return bounded and plan.asked.widths.divisor == "auto"


def _decided(plans: list[Plan], undecided: list[bool], divisor: int) -> list[Plan]:
    return [plan.with_widths(divisor=divisor) if auto else plan for auto, plan in zip(undecided, plans, strict=True)]


def _check(space: Space, plans: list[Plan], latency: LatencyModel | None = None) -> None:
    """Refuses budgets that no architecture can keep, as far as their costs are known yet."""
    for plan in plans:
        bounds = () if plan.budget is None else plan.budget.bounds
        if plan.budget is not None and plan.asked.method.grows:
            plan.budget.check_room(space.full_cost)
            continue
        known = tuple(bound for bound in bounds if bound.cost in space.costs)
        widths = widths_of(plan, space)
        if len(known) == len(bounds) or not _reachable(space, [plan.budget], widths, latency):
            Budget(known).check(full_costs(space, latency), least_costs(space, widths))


def full_costs(space: Space, latency: LatencyModel | None) -> dict[str, float]:
    """The costs of the base, of which budgets are percent: its latency as measured, not as the model sums it up."""
    return space.full_cost | ({} if latency is None else {"latency": latency.base_ms})


def widths_of(plan: Plan, space: Space) -> WidthRule:
    """The rule for the widths of a plan, of whose divisor timing has decided, where it was asked to: with "auto" the
    widths that processors like, with the largest divisor that leaves the budget in reach."""
    widths = plan.asked.widths
    if isinstance(widths.divisor, int):
        return WidthRule(widths.min_width, widths.divisor, uniform_layers=widths.uniform_layers)
    rule = replace(WidthRule.liked(widths.min_width), uniform_layers=widths.uniform_layers)
    while not _reachable(space, [plan.budget], rule) and rule.finer is not None:
        rule = rule.finer
    return rule


def _reachable(
    space: Space, budgets: Iterable[Budget | None], widths: WidthRule, latency: LatencyModel | None = None
) -> bool:
    """Whether some architecture with such widths keeps each bound, as far as their costs are known yet."""
    full, lowest = full_costs(space, latency), least_costs(space, widths)
    bounds = [bound for budget in budgets if budget is not None for bound in budget.bounds if bound.cost in full]
    return all(bound.limit(full) >= lowest[bound.cost] for bound in bounds)


def ranges(space: Space, plans: list[Plan], latency: LatencyModel | None) -> list[dict[str, Any]]:
    """Per cost: what the base has, the least possible, and what each budget asks."""
    full = full_costs(space, latency)
    limits = [{} if plan.budget is None else plan.budget.limits(full) for plan in plans]
    lowest = [full if plan.asked.method.grows else least_costs(space, _narrowest(plan, space)) for plan in plans]
    return [
        {
            "cost": cost,
            "base": base,
            "least": min(least[cost] for least in lowest),
            "asked": [limit.get(cost) for limit in limits],
        }
        for cost, base in full.items()
    ]


def _narrowest(plan: Plan, space: Space) -> WidthRule:
    """The rule by which the least costs are stated: "auto" leaves every width in reach."""
    widths = plan.asked.widths
    return widths_of(plan, space) if isinstance(widths.divisor, int) else WidthRule(widths.min_width)


def selected(
    space: Space, scores: Tensor, limits: Mapping[str, float], widths: WidthRule, latency: LatencyModel | None
) -> Tensor:
    """The best set of variables within the limits. Where a rule for widths may be finer (:meth:`WidthRule.liked`), it
    becomes so until a limit is used up to 99 %."""
    chosen = _within(space, scores, limits, widths, latency)
    rule = widths.finer
    while rule is not None and limits and _used(space, chosen, limits) < USED:
        chosen, rule = _within(space, scores, limits, rule, latency), rule.finer
    return chosen


def _used(space: Space, chosen: Tensor, limits: Mapping[str, float]) -> float:
    """The share of the limit that is used most."""
    return max(float(space.costs[name](chosen)) / limit for name, limit in limits.items())


def _within(
    space: Space, scores: Tensor, limits: Mapping[str, float], widths: WidthRule, latency: LatencyModel | None
) -> Tensor:
    """:func:`dnal.selection.select.select`, and where the latency is bounded, by what the very widths take: the cost
    that guides the search is smooth, and stands for all widths that are multiples. Its limit is corrected until the
    prediction for the chosen widths uses up the bound, or another bound does."""
    chosen = select(space, scores, limits, widths)
    if latency is None or "latency" not in limits:
        return chosen
    asked, limit = limits["latency"], limits["latency"]
    least = least_costs(space, widths)["latency"]
    best, most = chosen, 0.0
    for _ in range(CORRECTIONS):
        exactly = latency.predicted_ms(space, chosen)
        if most < exactly <= asked:
            best, most = chosen, exactly
        if CLOSE * asked <= exactly <= asked:
            break
        limit = max(least, limit * asked / exactly)
        following = select(space, scores, {**limits, "latency": limit}, widths)
        if bool((following == chosen).all()):
            break
        chosen = following
    return best
