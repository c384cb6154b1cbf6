"""The registry of dnal's own models: one decorator, one entry per name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from dnal.data.kind import Sizes


@dataclass(frozen=True)
class OwnModel:
    """An own model: how to build it, and the input and classes it is meant for by default; ``kind``: of its data."""

    name: str
    build: Callable[..., nn.Module]
    input_shape: Sizes
    classes: int
    least_side: int
    kind: str = "images"


_OWN: dict[str, OwnModel] = {}


B = TypeVar("B", bound=Callable[..., nn.Module])


def register(
    name: str, *, input_shape: Sizes, classes: int = 10, least_side: int = 1, kind: str = "images"
) -> Callable[[B], B]:
    """Register a builder under ``name``, which gets the number of classes, and those sizes of its inputs that it names
    (:meth:`dnal.data.Kind.arguments`): ``in_channels`` of images, ``features`` of tables and graphs, ``length`` and
    ``tokens`` of text, ``nodes`` of events.

    Args:
        input_shape, classes: for which it is meant by default.
        least_side: the smallest height and width that the network can take.
        kind: of its data.
    """

    def add(build: B) -> B:
        if name in _OWN:
            raise RuntimeError(f"two models are registered as {name!r}; give one of them another name")
        _OWN[name] = OwnModel(name, build, input_shape, classes, least_side, kind)
        return build

    return add


def own_models() -> dict[str, OwnModel]:
    """All own models by name, in the order of their registration."""
    return dict(_OWN)
