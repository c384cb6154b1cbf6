"""The Budget: bounds on costs, in the user's words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dnal.errors import UserError

UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
_BOUND = re.compile(
    r"^\s*(?P<cost>[a-z_]+)\s*<=\s*(?P<number>[-+]?[0-9.]+(?:e[-+]?[0-9]+)?)\s*(?P<unit>%|[kmg]?)\s*$", re.I
)


@dataclass(frozen=True)
class Bound:
    """One bound: ``cost`` <= ``number``, in percent of the base network's cost if ``percent``."""

    cost: str
    number: float
    percent: bool

    def limit(self, full: Mapping[str, float]) -> float:
        """The bound in the cost's own unit, given the base network's costs."""
        return full[self.cost] * self.number / 100 if self.percent else self.number

    def __str__(self) -> str:
        if self.percent:
            return f"{self.cost}<={self.number:.10g}%"
        for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
            if self.number >= size:
                return f"{self.cost}<={self.number / size:.10g}{unit}"
        return f"{self.cost}<={self.number:g}"


@dataclass(frozen=True)
class Budget:
    """Bounds that an architecture must keep, all of them."""

    bounds: tuple[Bound, ...]

    @staticmethod
    def parse(text: str, costs: tuple[str, ...] = ("macs", "params")) -> Budget:
        """Reads "macs<=30%", "params<=1.2M", or several with commas.

        Raises:
            UserError: on anything else, saying what a budget looks like.
        """
        bounds = []
        for part in text.split(","):
            match = _BOUND.match(part)
            if not match:
                raise UserError(f"'{part.strip()}' is no budget; write for example 'macs<=30%' or 'params<=1.2M'.")
            cost = match["cost"].lower()
            if cost not in costs:
                raise UserError(f"unknown cost '{cost}' in the budget; known are {', '.join(costs)}.")
            try:
                number = float(match["number"])
            except ValueError:
                raise UserError(f"'{match['number']}' in the budget '{part.strip()}' is no number.") from None
            if not math.isfinite(number) or number <= 0:
                raise UserError(f"a budget is above zero, not {match['number']}{match['unit']}.")
            percent = match["unit"] == "%"
            bounds.append(Bound(cost, number if percent else number * UNITS[match["unit"].lower()], percent))
        if len({b.cost for b in bounds}) < len(bounds):
            raise UserError("the budget bounds one cost twice; give each cost one bound.")
        return Budget(tuple(bounds))

    def limits(self, full: Mapping[str, float]) -> dict[str, float]:
        """The bound of each cost in its own unit, given the base network's costs."""
        return {bound.cost: bound.limit(full) for bound in self.bounds}

    def check(self, full: Mapping[str, float], least: Mapping[str, float]) -> None:
        """Refuses, before compute is spent, a bound that no architecture can keep or that asks nothing.

        Args:
            full: costs of the base network.
            least: the smallest costs an architecture can have.

        Raises:
            UserError: with the range that can be reached.
        """
        for bound in self.bounds:
            limit, low, high = bound.limit(full), least[bound.cost], full[bound.cost]
            reach = f"from {_amount(low)} ({100 * low / high:.2g} %) to {_amount(high)} (100 %)"
            if limit < low:
                raise UserError(f"the budget {bound} is below the least possible: this network reaches {reach}.")
            if limit > high or all(other.limit(full) >= full[other.cost] for other in self.bounds):
                raise UserError(f"the budget {bound} is not below the base network: it reaches {reach}.")

    def __str__(self) -> str:
        return ",".join(str(bound) for bound in self.bounds)


def _amount(value: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g}"
