"""Network slimming: L1 on the scales of batch norm, then keep the channels whose scale is large."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.space.space import Space
from dnal.train.phase import run_phase

PENALTY = 1e-4
"""lambda of the paper (section 4.2, VGG and ResNet on CIFAR)."""


def scales(network: nn.Module) -> dict[str, Tensor]:
    """The scale of every batch norm that has one, by the name of its parameter; each of shape (channels,)."""
    return {
        f"{path}.weight" if path else "weight": module.weight
        for path, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.weight is not None
    }


def slimming_scores(network: nn.Module, space: Space) -> Tensor:
    """The mean |scale| of the batch norms that a channel passes; shape (num_gates,). Channels that pass none, and
    branches, come first.

    Source: Liu et al., arXiv 1708.06519, section 3.
    """
    total, count = (torch.zeros(space.num_gates, dtype=torch.float64) for _ in range(2))
    for name, scale in scales(network).items():
        ids = space.sources[name][0]
        if ids is not None:
            free = ids >= 0
            total.index_add_(0, ids[free], scale.detach().abs().double().cpu()[free])
            count.index_add_(0, ids[free], torch.ones(int(free.sum()), dtype=torch.float64))
    return torch.where(count > 0, total / count.clamp(min=1), torch.inf)


@dataclass(frozen=True)
class Slimming(Method):
    """Trains with an L1 penalty on the scales of batch norm, then keeps the largest of the whole network.

    The loss is loss + lambda * sum |scale| (network slimming, Liu et al., arXiv 1708.06519, eq. 1).
    """

    trains: ClassVar[bool] = True
    prunes_blocks: ClassVar[bool] = False
    ranks_blocks: ClassVar[bool] = False

    penalty: float = option(PENALTY, "lambda, the weight of the penalty.", least=0)

    def check(self, network: nn.Module, space: Space) -> None:
        if not bool(slimming_scores(network, space).isfinite().any()):
            raise UserError(
                "the method 'slimming' ranks channels by the scales of the batch norms that they pass, and in this "
                "network none passes one; choose another method, such as magnitude."
            )

    def choose(self, task: Task) -> Removal:
        penalised, task_loss = list(scales(task.network).values()), task.context.loss

        def loss(outputs: Any, targets: Any) -> Tensor:
            value: Tensor = task_loss(outputs, targets)
            return value + self.penalty * sum((scale.abs().sum() for scale in penalised), value.new_zeros(()))

        run_phase(task.phase, task.network, replace(task.context, loss=loss), validate=task.validate)
        return task.removal(slimming_scores(task.network, task.space))
