"""The methods by name: one file each, one decorator, one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dnal.base.errors import UserError, all_names
from dnal.methods.task import Task

Choose = Callable[[Task], Tensor]
"""The variables that stay, bool, (num_gates,), within every limit."""


@dataclass(frozen=True)
class Method:
    """A way to choose an architecture.

    Attributes:
        trains: whether it uses the epochs of the architecture phase; otherwise they lengthen the retraining, so that
            every method sees equally many images.
        fresh: whether what it chose is trained from new weights, where nobody says.
        gates: whether it trains the network with gates in it.
    """

    name: str
    choose: Choose
    trains: bool
    fresh: bool
    gates: bool


_METHODS: dict[str, Method] = {}


def register(
    name: str, *, trains: bool = False, fresh: bool = False, gates: bool = False
) -> Callable[[Choose], Choose]:
    """Registers a method under ``name``."""

    def add(choose: Choose) -> Choose:
        if name in _METHODS:
            raise RuntimeError(f"two methods are registered as {name!r}; give one of them another name")
        _METHODS[name] = Method(name, choose, trains, fresh, gates)
        return choose

    return add


def methods() -> dict[str, Method]:
    """All methods by name, in the order of their registration."""
    return dict(_METHODS)


def method_of(name: str) -> Method:
    """The method of this name.

    Raises:
        UserError: there is none; with the nearest right name.
    """
    if name not in _METHODS:
        raise UserError(f"unknown method '{name}'{all_names(name, _METHODS)}")
    return _METHODS[name]
