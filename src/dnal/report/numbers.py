"""Figures of a run in words."""

from __future__ import annotations

from dnal.costs.budget import amount
from dnal.costs.cost import COSTS
from dnal.data.objective import Objective


def quantity(cost: str, value: float | None) -> str:
    """A value of a cost with its unit, or a dash."""
    if value is None:
        return "–"
    return amount(cost, value) if cost in COSTS else f"{value:.4g}"


def percent(share: float | None, digits: int = 1) -> str:
    """0.3 as "30.0 %"."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def ratio(base: float | None, compact: float | None) -> float | None:
    """compact / base, where there is one."""
    return None if base is None or compact is None or base <= 0 else compact / base


def shown(aim: Objective, value: float | None) -> str:
    """What the metric of an objective says."""
    return "–" if value is None else aim.shown(value)


def changed(aim: Objective, base: float | None, compact: float | None) -> str:
    """The difference of two metrics, of shares in points."""
    return aim.change(base, compact).replace("-", "−") or "–"
