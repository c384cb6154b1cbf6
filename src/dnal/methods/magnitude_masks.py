"""Magnitude masks: keep the largest weights of the whole network, and hold the others at zero."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.changes.masks import Masks
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.space.space import Space


def maskable(network: nn.Module, space: Space) -> dict[str, Tensor]:
    """The weights that may be masked: parameters of two or more dimensions, without those of layers that compute their
    weight from them (weight norm, weight standardisation), of which a zero makes none."""
    computing = {f"{path}." for path in space.baked}
    return {
        name: parameter.detach()
        for name, parameter in network.named_parameters()
        if parameter.dim() > 1
        and "parametrizations." not in name
        and not any(name.startswith(path) for path in computing)
    }


def largest(weights: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """Masks that keep the share ``density`` of all weights, rounded, at least one: those of the largest absolute
    values; of equal ones the first."""
    flat = torch.cat([weight.abs().flatten().float().cpu() for weight in weights.values()])
    stays = torch.zeros(len(flat), dtype=torch.bool)
    stays[flat.argsort(descending=True, stable=True)[: max(1, round(density * len(flat)))]] = True
    pieces = stays.split([weight.numel() for weight in weights.values()])
    return {name: piece.view(weight.shape) for (name, weight), piece in zip(weights.items(), pieces, strict=True)}


@dataclass(frozen=True)
class MagnitudeMasks(Method):
    """Holds all but the largest weights of the whole network at zero, and trains the others on.

    Weights are those of two or more dimensions; biases and norms stay. A channel that nothing but zeros read is
    removed, which changes nothing that the network computes; the other tensors keep their shapes. Takes no budget:
    zeros are no fewer MACs, and ``density`` says how much stays. Trains nothing itself. With --reinitialize the weights
    that stay are drawn again. Source: Han et al., arXiv 1506.02626, with one threshold for the whole network.
    """

    needs_budget: ClassVar[bool] = False
    takes_budget: ClassVar[bool] = False
    prunes_blocks: ClassVar[bool] = False

    density: float = option(0.1, "Share of the weights that stay.", above=0, below=1)

    def check(self, network: nn.Module, space: Space) -> None:
        if not maskable(network, space):
            raise UserError("this network has no weights of two or more dimensions that could be masked.")

    def choose(self, task: Task) -> Masks:
        masks = largest(maskable(task.network, task.space), self.density)
        bare = [name for name, mask in masks.items() if not bool(mask.any())]
        if bare:
            warnings.warn(
                f"a density of {self.density:g} leaves no weight of {', '.join(bare[:3])}"
                f"{f' and {len(bare) - 3} more tensors' if len(bare) > 3 else ''}; a higher one may be meant.",
                stacklevel=2,
            )
        return Masks.among(task.space, masks)
