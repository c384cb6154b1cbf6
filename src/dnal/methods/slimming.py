"""Network slimming: L1 on the scales of batch norm, then keep the channels whose scale is large."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dnal.methods.registry import register
from dnal.methods.task import Task
from dnal.space.space import Space
from dnal.train.weights import train_weights

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


@register("slimming", trains=True)
def slimming(task: Task) -> Tensor:
    """Trains with an L1 penalty on the scales of batch norm, then keeps the largest of the whole network.

    Loss + lambda * sum |scale| is eq. 1 of arXiv 1708.06519.
    """
    penalised = list(scales(task.network).values())

    def loss(outputs: Any, targets: Any) -> Tensor:
        value: Tensor = task.loss(outputs, targets)
        return value + PENALTY * sum((scale.abs().sum() for scale in penalised), value.new_zeros(()))

    train_weights(
        task.fabric, task.network, task.train, name="architecture", epochs=task.epochs, lr=task.lr, loss=loss,
        teacher=task.teacher, validate=task.validate, listener=task.listener, history=task.history, keeper=task.keeper,
    )  # fmt: skip
    return task.select(slimming_scores(task.network, task.space))
