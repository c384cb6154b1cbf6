"""Features that nothing reads after the retraining leave the network and its architecture."""

from __future__ import annotations

import torch
from torch import nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.changes import Change, Removal
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs
from dnal.techniques.nested_dropout.truncation import unread
from dnal.techniques.rich.head import last_linear_of


def without_unread(
    small: nn.Module, change: Change, network: nn.Module, space: Space, example: Inputs
) -> tuple[nn.Module, Change]:
    """The compact network without the channels that its last linear layer reads with columns of 0 alone, and no other
    layer at all, and the change that makes this of the base, so that a run folder holds both. Where the Space of the
    base has no such variables, or there is no architecture, both as they are.

    Args:
        small: in eval mode. change: what made it of ``network``, whose Space is ``space``.
    """
    if not isinstance(change, Removal) or change.architecture is None:
        return small, change
    own = Space.of(small, example)
    closing = unread(small, own)
    if not bool(closing.any()):
        return small, change
    weight = f"{last_linear_of(small, own)}.weight"
    before, now, kept = space.sources[weight][1], own.sources[weight][1], change.architecture.kept[weight][1]
    if before is None or now is None:
        return small, change
    of_base = before if kept is None else before[kept]
    gone = torch.where(now >= 0, closing[now], False)
    opened = change.architecture.open.clone()
    opened[of_base[gone & (of_base >= 0)]] = False
    narrower = Removal.among(space, opened)
    left = compact(small, Architecture.of(own, ~closing))
    shapes = {name: tuple(value.shape) for name, value in left.state_dict().items()}
    if shapes != {name: tuple(value.shape) for name, value in narrower.outline(network).state_dict().items()}:
        return small, change  # what leaves there is tied to more in the base: the columns of 0 stay
    return left, narrower
