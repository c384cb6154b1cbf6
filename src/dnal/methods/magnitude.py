"""L1 magnitude: keep the channels whose weights are large."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.space.space import Space


def l1_scores(network: nn.Module, space: Space) -> Tensor:
    """The L1 norm of all weight slices of a variable, over the mean of its group; shape (num_gates,).

    Filters that write the channel and kernels that read it count; biases and norm parameters do not. The group's mean
    makes layers of different width and scale comparable. Branches have no weights of their own and come first.
    Source: Li et al., arXiv 1608.08710, in the group form of DepGraph, arXiv 2301.12900.
    """
    total = torch.zeros(space.num_gates, dtype=torch.float64)
    for name, parameter in network.named_parameters():
        if parameter.dim() < 2:
            continue
        for dim, ids in enumerate(space.sources[name]):
            if ids is not None:
                norms = parameter.detach().abs().sum(dim=[d for d in range(parameter.dim()) if d != dim]).cpu().double()
                total.index_add_(0, ids[ids >= 0], norms[ids >= 0])
    for group in space.groups:
        total[group.variables] /= total[group.variables].mean().clamp(min=1e-12)
    total[space.num_variables :] = torch.inf
    return total
