"""The methods by name: one file each, one decorator, one interface."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.errors import UserError
from dnal.methods.widths import Widths
from dnal.space.space import Space
from dnal.train.keeper import Keeper
from dnal.train.listener import Listener
from dnal.train.place import Loader
from dnal.train.weights import Loss


@dataclass(frozen=True)
class Task:
    """What a method is given to choose an architecture.

    Attributes:
        network: the trained base, in eval or train mode; the method may change it, and what is left of it is retrained.
        space: what may vary in it. limits: cost name -> bound in its own unit. widths: those that a group may have.
        select: scores (num_gates,), higher kept first -> the open variables (bool) that keep every limit
            (``dnal.methods.selection``): every method ends with it.
        train, val: batches of (inputs, targets); val is for the log, and for methods that need data of their own.
        epochs, lr: of this phase; a method that does not train leaves them to the retraining.
        seed: of the method's own draws.
        settings: what belongs to single methods only: recipe, lambda_, steps.
        teacher: whose logits are imitated too, or None.
        history, listener, keeper: of :func:`dnal.train.loop.run_epochs`.
    """

    fabric: Fabric
    network: nn.Module
    space: Space
    limits: Mapping[str, float]
    widths: Widths
    select: Callable[[Tensor], Tensor]
    train: Loader
    val: Loader
    loss: Loss
    epochs: int
    lr: float
    seed: int
    settings: Mapping[str, Any]
    teacher: nn.Module | None
    validate: Callable[[nn.Module], float]
    listener: Listener
    history: list[dict[str, Any]]
    keeper: Keeper


Choose = Callable[[Task], Tensor]
"""The open variables, bool, (num_gates,), within every limit."""


@dataclass(frozen=True)
class Method:
    """A way to choose an architecture.

    Attributes:
        trains: whether it uses the epochs of the architecture phase; otherwise they lengthen the retraining, so that
            every method sees equally many images.
        fresh: whether its architecture is for new weights, not for the trained ones.
    """

    name: str
    choose: Choose
    trains: bool
    fresh: bool


_METHODS: dict[str, Method] = {}


def register(name: str, *, trains: bool = False, fresh: bool = False) -> Callable[[Choose], Choose]:
    """Registers a method under ``name``."""

    def add(choose: Choose) -> Choose:
        if name in _METHODS:
            raise RuntimeError(f"two methods are registered as {name!r}; give one of them another name")
        _METHODS[name] = Method(name, choose, trains, fresh)
        return choose

    return add


def methods() -> dict[str, Method]:
    """All methods by name, in the order of their registration."""
    return dict(_METHODS)


def method(name: str) -> Method:
    """The method of this name.

    Raises:
        UserError: there is none; with the nearest right name.
    """
    if name not in _METHODS:
        near = difflib.get_close_matches(name, _METHODS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        raise UserError(f"unknown method '{name}'{hint} There are {', '.join(_METHODS)}.")
    return _METHODS[name]
