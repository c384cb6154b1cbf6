"""Examples that one network has right and another one wrong."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnal.base.errors import UserError

LOWEST = 0.1
"""The share of the margins among which flips are looked for."""


@dataclass(frozen=True)
class Flips:
    """What became of N examples, bool (N,) each; every example is in one of the four.

    Attributes:
        fragile: right in the base, wrong in the compact network. repaired: the other way round.
        right, wrong: in both.
    """

    fragile: Tensor
    repaired: Tensor
    right: Tensor
    wrong: Tensor

    @property
    def any(self) -> Tensor:
        """Fragile or repaired."""
        return self.fragile | self.repaired

    def counts(self) -> dict[str, int]:
        """How many examples are in each."""
        return {name: int(getattr(self, name).sum()) for name in OUTCOMES}

    def names(self) -> list[str]:
        """The outcome of each example."""
        return [OUTCOMES[number] for number in torch.stack([getattr(self, name) for name in OUTCOMES]).int().argmax(0)]


OUTCOMES = ("fragile", "repaired", "right", "wrong")


def flips_of(base: Tensor, compact: Tensor, targets: Tensor) -> Flips:
    """Which examples flip between two networks.

    Args:
        base, compact: the classes that they say, (N,). targets: the true ones, (N,).

    Raises:
        UserError: not equally many.

    Examples:
        >>> import torch
        >>> from dnal.analyses import flips_of
        >>> flips_of(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 2]), torch.tensor([0, 1, 2])).counts()
        {'fragile': 1, 'repaired': 1, 'right': 1, 'wrong': 0}
    """
    if not base.shape == compact.shape == targets.shape:
        raise UserError(
            f"flips are of the same examples in the same order; these are {len(base)}, {len(compact)} and "
            f"{len(targets)}."
        )
    before, after = base == targets, compact == targets
    return Flips(before & ~after, ~before & after, before & after, ~before & ~after)


def in_the_lowest(margins: Tensor, flipped: Tensor, share: float = LOWEST) -> float:
    """Which share of the flips is among the examples whose margins are the lowest in size: they lie nearest to a
    boundary, on either side of it. NaN where nothing flips.

    Args:
        margins: of the base, (N,). flipped: bool (N,). share: of the examples that count as the lowest.

    Examples:
        >>> import torch
        >>> in_the_lowest(torch.tensor([0.1, -0.2, 3.0, 4.0]), torch.tensor([True, True, True, False]), share=0.5)
        0.6666666666666666
    """
    count = int(flipped.sum())
    if not count:
        return float("nan")
    nearest = margins.abs().argsort(stable=True)[: max(1, round(share * len(margins)))]
    return int(flipped[nearest].sum()) / count
