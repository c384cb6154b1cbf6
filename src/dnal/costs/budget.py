"""The Budget: bounds on costs, in the user's words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context

from dnal.base.errors import UserError, suggestion
from dnal.costs.cost import BOUNDED, COSTS

BINARY = {"KiB", "MiB", "GiB"}
"""Units that are understood but not chosen for amounts."""

SYNONYMS = {"flops": "macs"}
"""Other names of costs, for the suggestion: by its spelling alone 'flops' would be taken for 'bops'."""

EXAMPLES = ["'macs<=30%'", "'params<=1.2M'", "'memory<=2MB'", "'latency<=3ms'"]

_BOUND = re.compile(
    r"^\s*(?P<cost>[a-z_]+)\s*<=\s*(?P<number>[-+]?[0-9.]+(?:e[-+]?[0-9]+)?)\s*(?P<unit>[a-z%]*)\s*$", re.I | re.A
)


@dataclass(frozen=True)
class Bound:
    """One bound: ``cost`` <= ``number``, in percent of the base network's cost if ``percent``; otherwise a count
    (macs, params), bytes (memory) or milliseconds (latency)."""

    cost: str
    number: float
    percent: bool

    def limit(self, full: Mapping[str, float]) -> float:
        """The bound in the cost's own unit, given the base network's costs.

        Raises:
            UserError: if these do not name the cost.
        """
        if self.cost not in full:
            raise UserError(
                f"the budget {self} bounds a cost that this space does not state; it states {', '.join(full)}, and "
                "takes another with Space.with_cost."
            )
        return full[self.cost] * self.number / 100 if self.percent else self.number

    def __str__(self) -> str:
        """As :meth:`Budget.parse` reads it, to the same number."""
        if self.percent:
            return f"{self.cost}<={_plain(self.number)}%"
        for unit, size in _descending(self.cost):
            text = _plain(self.number / size)
            if self.number >= size and float(text) * size == self.number:
                return f"{self.cost}<={text}{unit}"
        return f"{self.cost}<={_plain(self.number)}"


@dataclass(frozen=True)
class Budget:
    """Bounds that an architecture must keep, all of them."""

    bounds: tuple[Bound, ...]

    @staticmethod
    def parse(text: str) -> Budget:
        """Reads "macs<=30%", "params<=1.2M", "memory<=2MB", "latency<=3ms", or several with commas.

        Units, in any case: k, M, G for macs and params; B, kB, MB, GB (powers of 1000), KiB, MiB, GiB for memory; us,
        ms, s for latency; % of the base network for all. A bare number is a count, bytes or milliseconds.

        Raises:
            UserError: on anything else, saying what a budget looks like.

        Examples:
            >>> budget = dnal.Budget.parse("macs<=30%, latency<=3ms")
            >>> budget.limits({"macs": 40_000_000, "latency": 8.5})
            {'macs': 12000000.0, 'latency': 3.0}
            >>> dnal.Budget.parse("flops<=30%")
            Traceback (most recent call last):
            dnal.UserError: unknown cost 'flops' in the budget; did you mean 'macs'?
        """
        bounds = tuple(_bound(" ".join(part.split())) for part in str(text).split(","))  # 0.3 gets a sentence too
        if len({b.cost for b in bounds}) < len(bounds):
            raise UserError("the budget bounds one cost twice; give each cost one bound.")
        return Budget(bounds)

    @property
    def costs(self) -> tuple[str, ...]:
        """The names of the bounded costs."""
        return tuple(bound.cost for bound in self.bounds)

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
            reach = _reach(bound.cost, low, high)
            if limit < low:
                raise UserError(f"the budget {bound} is below the least possible: {reach}.")
            if limit > high or all(other.limit(full) >= full[other.cost] for other in self.bounds):
                raise UserError(f"the budget {bound} is not below the base network: {reach}.")

    def check_room(self, full: Mapping[str, float]) -> None:
        """Refuses, before compute is spent, a bound to which a network cannot grow.

        Args:
            full: costs of the network as it begins.

        Raises:
            UserError: with what it costs.
        """
        for bound in self.bounds:
            if bound.limit(full) <= full[bound.cost]:
                raise UserError(
                    f"the budget {bound} is not above what this network has before it grows, "
                    f"{amount(bound.cost, full[bound.cost])} (100 %); ask for more, such as '{bound.cost}<=400%'."
                )

    def __str__(self) -> str:
        return ",".join(str(bound) for bound in self.bounds)


def _reach(cost: str, low: float, high: float) -> str:
    """What a network can cost, rounded inwards: a bound at either end can be kept. With as many digits as keep the
    ends apart."""
    for digits in range(4, 13):
        if float(_rounded(low, digits, ROUND_CEILING)) < float(_rounded(high, digits, ROUND_FLOOR)):
            shares = (_rounded(100 * low / high, least, ROUND_CEILING) for least in range(2, 13))
            share = next((share for share in shares if float(share) < 100), "100")
            return (
                f"this network reaches from {_written(cost, low, digits, ROUND_CEILING)} ({share} %) "
                f"to {_written(cost, high, digits, ROUND_FLOOR)} (100 %)"
            )
    return (
        f"whatever may be removed, this network has {amount(cost, high)}; allow narrower widths (min_width, divisor), "
        "or let more of it vary (include, exclude)"
    )


def amount(cost: str, value: float, digits: int = 4) -> str:
    """A value of a cost for people: "313.5 M" MACs, "1.2 MB", "12.3 ms".

    Args:
        cost: one of ``dnal.costs.cost.COSTS``, such as "macs".
        value: in the cost's own unit: a count, bytes or milliseconds.
        digits: significant ones; zeros at the end are left out.
    """
    return _written(cost, value, digits, ROUND_HALF_EVEN)


def _bound(text: str) -> Bound:
    match = _BOUND.match(text)
    if not match:
        raise UserError(f"'{text}' is no budget; write for example {_listed(EXAMPLES)}.")
    cost = match["cost"].lower()
    if cost not in BOUNDED:
        raise UserError(f"unknown cost '{cost}' in the budget; {suggestion(SYNONYMS.get(cost, cost), BOUNDED)}")
    try:
        number = float(match["number"])
    except ValueError:
        raise UserError(f"'{match['number']}' in the budget '{text}' is no number.") from None
    if not math.isfinite(number) or number <= 0:
        raise UserError(f"a budget is above zero and finite, not {match['number']}{match['unit']}.")
    if match["unit"] == "%":
        return Bound(cost, number, True)
    sizes = {"": 1.0, **{unit.lower(): size for unit, size in COSTS[cost].units.items()}}
    if match["unit"].lower() not in sizes:
        units = _listed([*(unit for unit in COSTS[cost].units if unit), "%"])
        raise UserError(f"'{match['unit']}' in the budget '{text}' is no unit of {cost}; write {units}.")
    number *= sizes[match["unit"].lower()]
    if not 0 < number < math.inf:
        raise UserError(f"a budget is above zero and finite, not {match['number']}{match['unit']}.")
    return Bound(cost, number, False)


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _descending(cost: str) -> list[tuple[str, float]]:
    units = [(unit, size) for unit, size in COSTS[cost].units.items() if unit not in BINARY]
    return sorted(units, key=lambda entry: -entry[1])


def _plain(number: float) -> str:
    """The shortest text that is read as the same number."""
    return repr(float(number)).removesuffix(".0")


def _written(cost: str, value: float, digits: int, rounding: str) -> str:
    """In the largest unit in which the rounded value is at least one; counts below a thousand have no unit."""
    text = ""
    for unit, size in _descending(cost):
        text = f"{_rounded(value / size, digits, rounding)} {unit}".rstrip()
        if float(text.split()[0]) >= 1:
            break
    return text


def _rounded(value: float, digits: int, rounding: str) -> str:
    exact = Context(prec=12).create_decimal(repr(float(value)))  # 10.000000000000002 is 10, not the 11 above it
    number = Context(prec=digits, rounding=rounding).create_decimal(exact)
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
