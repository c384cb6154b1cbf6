"""Norms that are told which channels exist: the reference for open norms.

A norm sees nothing but these channels, with their scale and shift, and all others of its result are zero. Nothing here
asks the package how it weights the channels of a norm, only which of them a norm's own weight has lost.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

import dnal

NUMBERS = ("num_channels", "dim")
"""What norms call the number of their channels."""


class Told(nn.Module):
    """A norm over some of its channels."""

    def __init__(self, norm: nn.Module, exist: Tensor, size: int) -> None:
        super().__init__()
        self.norm, self.exist, self.size = copy.deepcopy(norm), exist, size
        for name, parameter in norm.named_parameters():
            dims = [dim for dim, n in enumerate(parameter.shape) if n == size]
            if len(dims) == 1:
                setattr(self.norm, name, nn.Parameter(parameter.detach().index_select(dims[0], exist)))
        if hasattr(norm, "normalized_shape"):
            self.norm.normalized_shape = (len(exist),)
        for name in NUMBERS:
            if getattr(norm, name, None) == size:
                setattr(self.norm, name, len(exist))
        if isinstance(norm, nn.GroupNorm):
            self.norm.num_groups = len((exist // (norm.num_channels // norm.num_groups)).unique())

    def forward(self, x: Tensor) -> Tensor:
        dim = self._channels(x)
        seen = self.norm(x.index_select(dim, self.exist))
        return torch.zeros_like(x, dtype=seen.dtype).index_copy(dim, self.exist, seen)

    def _channels(self, x: Tensor) -> int:
        """The dimension of the channels: the last or the second one."""
        last = x.size(-1) == self.size
        if last and x.dim() > 2 and x.size(1) == self.size:
            kind = type(self.norm).__name__
            last = not (isinstance(self.norm, nn.GroupNorm) or kind.endswith("2d"))
        return x.dim() - 1 if last else 1


def tell(twin: nn.Module, network: nn.Module, space: dnal.Space, stays: Tensor) -> None:
    """Puts such norms in the place of those of ``twin``, a copy of ``network``, in whose calls the space says that
    channels are weighted, where some of them leave."""
    for path in {rule.call.path for rule in space.norms}:
        module = network.get_submodule(path)
        ids = next((i for _, dims in own(space, path) for i in dims if i is not None), None)
        if ids is None or list(module.children()):
            continue
        exist = ((ids < 0) | stays[ids.clamp(min=0)]).nonzero().squeeze(1)
        if len(exist) < len(ids):
            twin.set_submodule(path, Told(module, exist, len(ids)))


def own(space: dnal.Space, path: str) -> list[tuple[str, tuple[Tensor | None, ...]]]:
    """The parameters of a module itself, and what varies in them."""
    return [(name, dims) for name, dims in space.sources.items() if name.rpartition(".")[0] == path]
