"""Where nothing that a network computes shows in what it returns: a last activation whose input is negative, a detector
that finds nothing. Any two such networks agree, and comparing them shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from dnal.space.selections import Recorded, close


class Shown(NamedTuple):
    """What two networks can be compared by: their outputs, and the numbers from which selections were made."""

    outputs: list[Tensor]
    inside: list[Tensor]


def shown(run: Callable[[], list[Tensor]]) -> Shown:
    """The same of one forward pass, ``run``."""
    recorded = Recorded()
    with recorded:
        outputs = run()
    return Shown(outputs, [t for choice in recorded.selections for t in choice.given if t.is_floating_point()])


def moved(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[bool]:
    """For each tensor whether it is another one, by more than a comparison allows."""
    if len(before) != len(after):
        return [True] * max(len(before), len(after))
    return [not close(one, other) for one, other in zip(before, after, strict=True)]
