"""Deep copies of networks, without what others left in them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

OF_FABRIC = ("_fabric", "_fabric_optimizers")
"""Where Lightning Fabric leaves itself in a LightningModule."""


@contextmanager
def without_fabric(network: nn.Module) -> Iterator[None]:
    """The modules of a network without what Lightning Fabric left in them, which no deep copy survives."""
    held = [
        (module, name, vars(module)[name]) for module in network.modules() for name in OF_FABRIC if name in vars(module)
    ]
    for module, name, value in held:
        vars(module)[name] = [] if isinstance(value, list) else None
    try:
        yield
    finally:
        for module, name, value in held:
            vars(module)[name] = value


def deep_copy(network: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """A deep copy of a network; ``memo``: what takes the place of its objects, by their ids."""
    with without_fabric(network):
        return copy.deepcopy(network, memo)
