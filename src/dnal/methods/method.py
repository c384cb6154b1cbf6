"""What a method is: it chooses what becomes of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from dnal.base.options import Options
from dnal.changes.change import Change
from dnal.methods.task import Task
from dnal.settings import DEFAULT_BUDGET
from dnal.space.space import Space

LONG_SEARCH = (40, 20, 40)
"""Epochs of base, search and retraining, for whatever was published with a long search."""


@dataclass(frozen=True)
class Method(Options):
    """A way to choose what becomes of a network. A subclass is a frozen dataclass: its fields are its options, its
    docstring is its card, the first sentence of which a list shows.

    Attributes:
        trains: whether it uses the epochs of the architecture phase; otherwise they lengthen the retraining, so that
            every method sees equally many images.
        gates: whether it runs the network with gates in it.
        reinitializes: whether what it chose is trained from new weights by default.
        needs_budget: whether the default budget stands in where none is given. takes_budget: whether one may be given.
        grows: whether the network becomes larger, so that a budget is above its cost. default_budget: what stands in
            where one is needed and none is given.
        adapts: whether the weights that it leaves have learnt without what leaves, so that nothing is lost with it.
        prunes_blocks: whether residual branches may go too by default. ranks_blocks: whether it tells which; otherwise
            all of them stay, whatever is asked for.
        reparametrises: whether it holds the weights in another way in the architecture phase.
        retrains: whether its training in the architecture phase is retraining, in ``stages`` one after the other, each
            of at least an epoch: with the learning rates and the techniques of the last phase.
        epochs: of base, search and retraining, in this proportion by default.
        techniques: names of those that act by default, where the loss is the default one.
    """

    trains: ClassVar[bool] = False
    gates: ClassVar[bool] = False
    reinitializes: ClassVar[bool] = False
    needs_budget: ClassVar[bool] = True
    takes_budget: ClassVar[bool] = True
    grows: ClassVar[bool] = False
    default_budget: ClassVar[str] = DEFAULT_BUDGET
    adapts: ClassVar[bool] = False
    prunes_blocks: ClassVar[bool] = True
    ranks_blocks: ClassVar[bool] = True
    reparametrises: ClassVar[bool] = False
    retrains: ClassVar[bool] = False
    stages: ClassVar[int] = 1
    epochs: ClassVar[tuple[int, int, int]] = LONG_SEARCH
    techniques: ClassVar[tuple[str, ...]] = ("distillation",)

    def check(self, network: nn.Module, space: Space) -> None:
        """Looks at the network and its Space before anything is trained.

        Raises:
            UserError: the method cannot work with them.
        """

    def rewind(self, base_is_trained: bool) -> float | None:
        """After which share of the base's steps it wants to know the weights, 0 for those before the first; None where
        it does not. They are its task's ``early``.

        Raises:
            UserError: they are asked for, and the base comes trained.
        """
        return None

    def restarts(self, base_is_trained: bool) -> bool:
        """Whether what it chose is trained again from the weights that it wanted to know (:meth:`rewind`)."""
        return self.rewind(base_is_trained) is not None

    def choose(self, task: Task) -> Change:
        """What becomes of the task's network, within its limits. The network may be trained on the way."""
        raise NotImplementedError


def spend_in_rounds(method: Method, rounds: int, epochs: int) -> None:
    """Makes a method train between its rounds, in the architecture phase; the training of the last one is that of the
    last phase. ``epochs``: of the base and of each round by default."""
    between = rounds - 1
    own = {"trains": between > 0, "stages": max(1, between), "epochs": (epochs, max(1, epochs * between), epochs)}
    for name, value in own.items():
        object.__setattr__(method, name, value)
