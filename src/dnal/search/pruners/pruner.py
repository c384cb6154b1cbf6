"""A pruner: which networks are hopeless after a few epochs, from what those of earlier rounds were worth by then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dnal.base.errors import UserError
from dnal.base.options import Options

StopsEarly = Callable[[float], bool]
"""What a network is worth after an epoch -> whether it is given up. Called after each of its epochs but the last."""


class EarlierNetwork(NamedTuple):
    """A network that was trained before: what it was worth after each epoch, and whether it was given up then."""

    curve: tuple[float, ...]
    stopped: bool


@dataclass(frozen=True)
class Pruner(Options):
    """A way to give networks up. A subclass is a frozen dataclass: its fields are its options, its docstring is its
    card."""

    @property
    def judges(self) -> bool:
        """Whether networks are measured after every epoch, for it to decide by."""
        return True

    @property
    def first(self) -> int:
        """The number of epochs after which it decides first."""
        return 1

    def check(self, epochs: int) -> None:
        """Refuses what cannot be.

        Args:
            epochs: of a network.

        Raises:
            UserError: it would never decide, or needs a package that is not here.
        """
        if self.judges and self.first >= epochs:
            raise UserError(
                f"the pruner decides after {self.first} or more epochs, and each network is trained for {epochs}; "
                f"give --epochs {self.first + 1} or more, or --pruner none."
            )

    def judge(self, earlier: Sequence[EarlierNetwork]) -> StopsEarly:
        """The judge of one network.

        Args:
            earlier: the networks of all rounds before its own, in the order in which they were asked for. Those of its
                own round are not among them, so that nothing depends on which of them ends first.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class NoPruner(Pruner):
    """No network is given up."""

    @property
    def judges(self) -> bool:
        return False

    def judge(self, earlier: Sequence[EarlierNetwork]) -> StopsEarly:
        return lambda worth: False
