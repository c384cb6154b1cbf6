"""A method: it chooses which channels stay."""

from dataclasses import dataclass

import torch

from dnal.base.options import option
from dnal.changes import Removal
from dnal.methods import Method
from dnal.methods.task import Task


@dataclass(frozen=True)
class First(Method):
    """Keeps the same share of every group: the channels that stand first, or last.

    A control of what any choice of channels is worth. Trains nothing.
    """

    last: bool = option(False, "Keep those that stand last.")

    def choose(self, task: Task) -> Removal:
        # Branches stay as long as they can.
        scores = torch.full((task.space.num_gates,), torch.inf, dtype=torch.float64)
        for group in task.space.groups:
            position = (torch.arange(group.width, dtype=torch.float64) + 0.5) / group.width
            scores[group.variables] = position if self.last else 1 - position
        return task.removal(scores)
