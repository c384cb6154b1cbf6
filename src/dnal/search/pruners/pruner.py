"""A pruner: which networks are stopped early, judged by the learning curves of those of earlier rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dnal.base.errors import UserError
from dnal.base.options import Options

StopsEarly = Callable[[float], bool]
"""The fitness of a network after an epoch -> whether it is stopped. Called after each epoch except for the last."""


class EarlierNetwork(NamedTuple):
    """A network of an earlier round: its fitness after each epoch, and whether it was stopped after the last one."""

    curve: tuple[float, ...]
    stopped: bool


@dataclass(frozen=True)
class Pruner(Options):
    """A way to stop networks early. A subclass is a frozen dataclass: its fields are its options, its docstring is its
    card."""

    @property
    def judges(self) -> bool:
        """Whether it ever stops one, so that networks must be measured after every epoch."""
        return True

    @property
    def first(self) -> int:
        """Epochs before its first decision."""
        return 1

    def check(self, epochs: int) -> None:
        """Refuses a pruner that cannot act.

        Args:
            epochs: for which each network is trained.

        Raises:
            UserError: it would never decide, or needs a package that is not installed.
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
    """No network is stopped early."""

    @property
    def judges(self) -> bool:
        return False

    def judge(self, earlier: Sequence[EarlierNetwork]) -> StopsEarly:
        return lambda worth: False
