"""Magnitude: keep the channels whose weights are large."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dnal.changes.removal import Removal
from dnal.methods.method import Method
from dnal.methods.relative import over_mean
from dnal.methods.task import Task
from dnal.space.space import Space


def l1_scores(network: nn.Module, space: Space) -> Tensor:
    """The L1 norm of all weight slices of a variable, over the mean of its group; shape (num_gates,).

    Filters that write the channel and kernels that read it count; biases and norm parameters do not. The group's mean
    makes layers of different width and scale comparable. Branches have no weights of their own and come first.
    Source: Li et al., arXiv 1608.08710, in the group form of DepGraph, arXiv 2301.12900.
    """
    return _scores(network, space, 1)


def l2_scores(network: nn.Module, space: Space) -> Tensor:
    """:func:`l1_scores` with the sum of squares (of which the L2 norm is the root, in the same order)."""
    return _scores(network, space, 2)


@dataclass(frozen=True)
class Magnitude(Method):
    """Keeps the largest L1 norms of the whole network.

    The norms of all weight slices of a channel, over the mean of its group. Trains nothing. Sources: Li et al., arXiv
    1608.08710, in the group form of DepGraph, arXiv 2301.12900.
    """

    def choose(self, task: Task) -> Removal:
        return task.removal(l1_scores(task.network, task.space))


@dataclass(frozen=True)
class MagnitudeL2(Method):
    """Keeps the largest L2 norms of the whole network; else as ``magnitude``."""

    def choose(self, task: Task) -> Removal:
        return task.removal(l2_scores(task.network, task.space))


def _scores(network: nn.Module, space: Space, power: int) -> Tensor:
    total = torch.zeros(space.num_gates, dtype=torch.float64)
    for name, parameter in network.named_parameters():
        if parameter.dim() < 2:
            continue
        for dim, ids in enumerate(space.sources[name]):
            if ids is not None:
                norms = parameter.detach().abs().pow(power).sum(dim=[d for d in range(parameter.dim()) if d != dim])
                norms = norms.cpu().double()
                total.index_add_(0, ids[ids >= 0], norms[ids >= 0])
    total = over_mean(total, space)
    total[space.num_variables :] = torch.inf
    return total
