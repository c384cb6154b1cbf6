"""Where nothing that a network computes shows in what it returns: a last activation whose input is negative, a detector
that finds nothing. Any two such networks agree, and comparing them shows nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dnal.space.running import copied
from dnal.space.selections import Recorded, close


class Shown(NamedTuple):
    """What two networks can be compared by: their outputs, and the numbers from which selections were made."""

    outputs: list[Tensor]
    inside: list[Tensor]


def shown(run: Callable[[], list[Tensor]]) -> Shown:
    """The same of one forward pass, ``run``."""
    recorded = Recorded()
    with recorded:
        outputs = run()
    return Shown(outputs, [t for choice in recorded.selections for t in choice.given if t.is_floating_point()])


def moved(before: Sequence[Tensor], after: Sequence[Tensor]) -> list[bool]:
    """For each tensor whether it is another one, by more than a comparison allows."""
    if len(before) != len(after):
        return [True] * max(len(before), len(after))
    return [not close(one, other) for one, other in zip(before, after, strict=True)]


def redrawn(network: nn.Module) -> nn.Module:
    """A copy whose layers have drawn their weights again, as PyTorch draws them."""
    twin = copied(network)
    with torch.no_grad():
        for module in twin.modules():
            draw = getattr(module, "reset_parameters", None)
            if callable(draw) and type(module).__module__.startswith("torch.nn."):
                draw()
    return twin


def weightless(network: nn.Module) -> nn.Module:
    """A copy without its weights: the parameters of two dimensions and more are zero."""
    twin = copied(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.dim() > 1:
                parameter.zero_()
    return twin
