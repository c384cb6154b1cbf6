"""Which widths a group may have: a least one, and multiples of a number that the hardware likes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from dnal.base.errors import OptionError
from dnal.space.roles import makers
from dnal.space.space import Group, Space

LIKED, SEVERAL = 16, 4
"""The divisor of widths that processors like, and how many multiples of it a group has to have: vector units, and
kernels for matrices, take so many channels at once, or half or a quarter as many (benchmarks/speed/macs_worth.csv)."""


@dataclass(frozen=True)
class WidthRule:
    """The rule for the widths of groups; `min_width` and `divisor` count channels of the tensors, not variables.

    Attributes:
        min_width: a number of channels, 1 or more, or a share of the group's width, between 0 and 1; a narrower group
            stays whole.
        divisor: a group keeps a multiple of it, or all of its channels; one that is no wider stays whole.
        fewest: how many multiples a group has at least to choose from, itself among them. The divisor of a group that
            has fewer is halved until it has so many, or is 1. With 1 the divisor is that of every group.
        uniform_layers: groups of layers whose names differ in numbers only keep equally many variables.

    Raises:
        UserError: for numbers that are none of this.
    """

    min_width: int | float = 1
    divisor: int = 1
    fewest: int = 1
    uniform_layers: bool = False

    def __post_init__(self) -> None:
        share = not isinstance(self.min_width, bool) and 0 < self.min_width < 1
        if not share and not _is_count(self.min_width):
            takes = "a whole number of channels, 1 or more, or a share between 0 and 1"
            raise OptionError("min_width", f"is {takes}, not {self.min_width}.")
        if not _is_count(self.divisor):
            raise OptionError("divisor", f"is a whole number, 1 or more, not {self.divisor}.")
        if not _is_count(self.fewest):
            raise OptionError("fewest", f"is a whole number, 1 or more, not {self.fewest}.")

    @staticmethod
    def liked(min_width: int | float = 1) -> WidthRule:
        """Widths that processors like: multiples of 16 in groups of 64 channels and more, of 8 from 32, of 4 from 16,
        of 2 from 8; narrower groups have every width."""
        return WidthRule(min_width, LIKED, SEVERAL)

    @property
    def finer(self) -> WidthRule | None:
        """The rule with half the divisor; None where every width is allowed, or one divisor is that of every group."""
        if self.fewest == 1 or self.divisor == 1:
            return None
        return replace(self, divisor=int(self.divisor) // 2)

    def allowed(self, width: int, channels: Iterable[int] = (1,)) -> list[int]:
        """How many variables a group of ``width`` variables may keep, ascending; the last is ``width``.

        Args:
            channels: for how many channels each variable stands: one number for each layer that makes them.

        Examples:
            >>> WidthRule(min_width=0.25, divisor=8).allowed(60)
            [16, 24, 32, 40, 48, 56, 60]
            >>> WidthRule(divisor=16, fewest=4).allowed(40)
            [8, 16, 24, 32, 40]
        """
        channels, divisor = list(channels), int(self.divisor)
        step = _step(divisor, channels)
        while self.fewest > 1 and divisor > 1 and width < self.fewest * step:
            divisor //= 2
            step = _step(divisor, channels)
        if self.min_width < 1:
            least = math.ceil(self.min_width * width)
        else:
            least = max(math.ceil(self.min_width / each) for each in channels)
        return [*(count for count in range(step, width, step) if count >= least), width]

    def allowed_in(self, space: Space, group: Group) -> list[int]:
        """The same for a group of a Space."""
        return self.allowed(group.width, channels_of_variable(space, group))


def channels_of_variable(space: Space, group: Group) -> set[int]:
    """For how many channels a variable of the group stands in the layers that make them: more than one where positions
    are tied (grouped convolutions, pieces of a split)."""
    found = set()
    for name, dim in makers(group.places, space.readers, space.writers):
        ids = space.sources[name][dim]
        assert ids is not None
        own, counts = ids[ids >= 0].unique(return_counts=True)
        found |= set(counts[torch.isin(own, group.variables)].unique().tolist())
    return found or {1}


def _step(divisor: int, channels: Iterable[int]) -> int:
    """Variables that make a multiple of ``divisor`` channels in every layer."""
    return math.lcm(*(divisor // math.gcd(divisor, each) for each in channels))


def _is_count(number: float) -> bool:
    return not isinstance(number, bool) and math.isfinite(number) and number >= 1 and number == int(number)
