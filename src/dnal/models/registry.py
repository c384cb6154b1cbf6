"""The registry of dnal's own models: one decorator, one entry per name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import nn


class Builder(Protocol):
    """Builds a network from the number of classes and of input channels."""

    def __call__(self, *, classes: int, in_channels: int) -> nn.Module: ...


@dataclass(frozen=True)
class OwnModel:
    """An own model: how to build it, and the input (C, H, W) and classes it is meant for by default."""

    name: str
    build: Builder
    input_shape: tuple[int, int, int]
    classes: int
    least_side: int


_OWN: dict[str, OwnModel] = {}


def register(
    name: str, *, input_shape: tuple[int, int, int], classes: int = 10, least_side: int = 1
) -> Callable[[Builder], Builder]:
    """Register a builder under ``name``; ``least_side`` is the smallest height and width the network can take."""

    def add(build: Builder) -> Builder:
        if name in _OWN:
            raise RuntimeError(f"two models are registered as {name!r}; give one of them another name")
        _OWN[name] = OwnModel(name, build, input_shape, classes, least_side)
        return build

    return add


def own_models() -> dict[str, OwnModel]:
    """All own models by name, in the order of their registration."""
    return dict(_OWN)
