"""A check: a statistic with its interval, where it must lie, and what follows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from dnal.base.statistics import Interval

Verdict = Literal["holds", "does not hold", "cannot be told"]
HOLDS: Verdict = "holds"
DOES_NOT: Verdict = "does not hold"
UNTOLD: Verdict = "cannot be told"


@dataclass(frozen=True)
class Check:
    """Whether a statistic lies above, below or between bounds.

    It holds where the whole interval does, it does not where none of the interval does, and it cannot be told where a
    part of it does, or where there are too few values for an interval. With both bounds and an interval of 90 % it is
    the test of equivalence (two one-sided tests at 5 %).

    Attributes:
        claim: what holds then, in a few words. statistic: what is computed, with its unit.
        found: the statistic with its interval. above, below: where it must lie; either may be infinite.

    Examples:
        >>> from dnal.base.statistics import mean
        >>> Check("more is better", "gain, points", mean([1.0, 1.2, 0.9]), above=0.0).verdict
        'holds'
        >>> Check("equal within a point", "gain, points", mean([1.0, 1.2, 0.9]), above=-1.0, below=1.0).verdict
        'cannot be told'
    """

    claim: str
    statistic: str
    found: Interval
    above: float = -math.inf
    below: float = math.inf

    @property
    def verdict(self) -> Verdict:
        low, high = self.found.low, self.found.high
        if math.isnan(low) or math.isnan(high):
            return UNTOLD
        if low > self.above and high < self.below:
            return HOLDS
        return DOES_NOT if low >= self.below or high <= self.above else UNTOLD

    @property
    def asked(self) -> str:
        """Where it must lie, in words."""
        if math.isfinite(self.above) and math.isfinite(self.below):
            return f"between {self.above:g} and {self.below:g}"
        return f"above {self.above:g}" if math.isfinite(self.above) else f"below {self.below:g}"

    def document(self) -> dict[str, Any]:
        """As plain values; what is no number is None."""
        found = self.found
        numbers = {
            "value": found.value, "low": found.low, "high": found.high, "above": self.above, "below": self.below,
        }  # fmt: skip
        return {
            "claim": self.claim, "statistic": self.statistic,
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "number": found.number, "confidence": found.confidence, "how": found.how, "asked": self.asked,
            "verdict": self.verdict,
        }  # fmt: skip


def verdict_of(checks: Iterable[Check]) -> Verdict:
    """Of a study: it holds where all its checks do, and does not where one does not."""
    found = [check.verdict for check in checks]
    if DOES_NOT in found:
        return DOES_NOT
    return HOLDS if found and all(each == HOLDS for each in found) else UNTOLD
