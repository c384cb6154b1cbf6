"""What a method is given to choose what becomes of a network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from dnal.changes.removal import Removal
from dnal.selection.widths import WidthRule
from dnal.space.space import Space
from dnal.train.evaluate import Validate
from dnal.train.loader import Loader
from dnal.train.phase import Context, Phase


class Select(Protocol):
    """See ``Task.select``."""

    def __call__(self, scores: Tensor, others: Mapping[str, float] | None = None, /) -> Tensor: ...


@dataclass(frozen=True)
class Task:
    """A base, what may vary in it, what it may cost, and how to train.

    Attributes:
        network: the trained base; a method may go on training it, and what is left of it is retrained.
        budget: as it was asked for. limits: cost name -> bound in its own unit; none at all where nothing is bounded.
        widths: what a group may have.
        select: (scores (num_gates,), higher kept first; other limits by name, or none) -> the variables that stay
            (bool) within all limits, these instead of the task's own.
        val: batches of (inputs, targets) for methods that need data of their own; the training data are the context's.
        phase, context: for :func:`dnal.train.phase.run_phase`.
        seed: of the method's own draws.
        validate: measures a network, for the log.
        early: the base's state at the step that the method wanted to know (``Method.rewind``); else None.
    """

    network: nn.Module
    space: Space
    budget: str
    limits: Mapping[str, float]
    widths: WidthRule
    select: Select
    val: Loader
    phase: Phase
    context: Context
    seed: int
    validate: Validate
    early: Mapping[str, Tensor] | None = None

    def removal(self, scores: Tensor) -> Removal:
        """The removal of all but the best variables within every limit; scores: (num_gates,), higher kept first."""
        return Removal.among(self.space, self.select(scores))
