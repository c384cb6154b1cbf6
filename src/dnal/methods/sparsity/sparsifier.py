"""What all methods have in common that keep few weights instead of few channels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.changes.masks import Masks
from dnal.methods.method import Method
from dnal.methods.sparsity.masks import maskable
from dnal.settings import Share
from dnal.space.space import Space

NAMED = 3
"""How many tensors a sentence names."""


@dataclass(frozen=True)
class Sparsifier(Method, Share):
    """Keeps a share of the weights and holds the others at zero."""

    needs_budget: ClassVar[bool] = False
    takes_budget: ClassVar[bool] = False
    prunes_blocks: ClassVar[bool] = False
    retrains: ClassVar[bool] = True
    techniques: ClassVar[tuple[str, ...]] = ()

    def check(self, network: nn.Module, space: Space) -> None:
        if not maskable(network, space):
            raise UserError("this network has no weights of two or more dimensions that could be masked.")


def masked(space: Space, masks: Mapping[str, Tensor], keep: float) -> Masks:
    """The change with these masks, which warns of tensors of which nothing stays."""
    bare = [name for name, mask in masks.items() if not bool(mask.any())]
    if bare:
        more = f" and {len(bare) - NAMED} more tensors" if len(bare) > NAMED else ""
        warnings.warn(
            f"keeping {100 * keep:g} % leaves no weight of {', '.join(bare[:NAMED])}{more}; a larger share may be "
            "meant, or the same one of each layer (layer-magnitude).",
            stacklevel=3,
        )
    return Masks.among(space, masks)
