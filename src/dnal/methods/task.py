"""What a method is given to choose an architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.methods.widths import Widths
from dnal.space.space import Space
from dnal.train.keeper import Keeper
from dnal.train.listener import Listener
from dnal.train.place import Loader
from dnal.train.weights import Loss


class Select(Protocol):
    """See ``Task.select``."""

    def __call__(self, scores: Tensor, tighter: Mapping[str, float] | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Task:
    """A base, what may vary in it, what it may cost, and how to train.

    Attributes:
        network: the trained base; a method may go on training it, and what is left of it is retrained.
        budget: as it was asked for. limits: cost name -> bound in its own unit; none at all where nothing is bounded.
        widths: what a group may have.
        select: (scores (num_gates,), higher kept first; tighter limits by name, or none) -> the variables that stay
            (bool) within all limits.
        train, val: batches of (inputs, targets); val is for the log, and for methods that need data of their own.
        epochs, lr: of this phase. seed: of the method's own draws.
        recipe, lambda_, steps: settings that single methods know.
        teacher: a network whose logits are imitated too, or None.
        validate, listener, history, keeper: as :func:`dnal.train.loop.run_epochs` takes them.
    """

    fabric: Fabric
    network: nn.Module
    space: Space
    budget: str
    limits: Mapping[str, float]
    widths: Widths
    select: Select
    train: Loader
    val: Loader
    loss: Loss
    epochs: int
    lr: float
    seed: int
    recipe: str
    lambda_: float
    steps: str
    teacher: nn.Module | None
    validate: Callable[[nn.Module], float]
    listener: Listener
    history: list[dict[str, Any]]
    keeper: Keeper
