"""Uniform width: every group keeps the same share of its channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dnal.changes.removal import Removal
from dnal.methods.magnitude import l1_scores
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.space.space import Space


def uniform_scores(space: Space, scores: Tensor) -> Tensor:
    """Scores that, ranked over the whole network, keep the same share of every group: the rank within the group,
    from 1 (best) down to 0; shape (num_gates,). ``scores`` orders the channels of each group; branches come first."""
    result = torch.full((space.num_gates,), torch.inf, dtype=torch.float64)
    for group in space.groups:
        order = scores[group.variables].argsort(descending=True, stable=True)
        result[group.variables[order]] = 1 - (torch.arange(group.width, dtype=torch.float64) + 0.5) / group.width
    return result


def random_scores(space: Space, seed: int) -> Tensor:
    """A random order of the channels of each group, the global random state untouched; shape (num_gates,)."""
    return torch.rand(space.num_gates, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Uniform(Method):
    """Keeps the same share of every group, the best by L1.

    The simplest way to keep a budget, and a strong one: whatever learns widths must beat it. Trains nothing.
    """

    prunes_blocks: ClassVar[bool] = False
    ranks_blocks: ClassVar[bool] = False

    def choose(self, task: Task) -> Removal:
        return task.removal(uniform_scores(task.space, l1_scores(task.network, task.space)))


@dataclass(frozen=True)
class Random(Method):
    """Keeps the same share of every group, at random positions.

    The control of what any choice of channels is worth. Trains nothing.
    """

    prunes_blocks: ClassVar[bool] = False
    ranks_blocks: ClassVar[bool] = False

    def choose(self, task: Task) -> Removal:
        return task.removal(uniform_scores(task.space, random_scores(task.space, task.seed)))
