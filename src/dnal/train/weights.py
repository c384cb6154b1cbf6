"""Training the weights of a network: the base, or what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.train.distillation import distillation_loss
from dnal.train.keeper import Keeper
from dnal.train.listener import Listener
from dnal.train.loop import run_epochs
from dnal.train.place import Loader
from dnal.train.schedule import cosine
from dnal.train.setup import set_up

Loss = Callable[[Any, Any], Tensor]


def sgd(network: nn.Module, lr: float, weight_decay: float = 5e-4, momentum: float = 0.9) -> torch.optim.SGD:
    """SGD with Nesterov momentum over the parameters that are trained; biases and norms are not decayed."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD([g for g in groups if g["params"]], lr=lr, momentum=momentum, nesterov=momentum > 0)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def taught_loss(loss: Loss, teacher: nn.Module | None) -> Callable[[Any, Any, Any], Tensor]:
    """(outputs, targets, inputs) -> the task's loss, mixed with the teacher's word where there is a teacher."""

    def compute(outputs: Any, targets: Any, inputs: Any) -> Tensor:
        task = loss(outputs, targets)
        if teacher is None:
            return task
        with torch.no_grad():
            word = teacher(inputs)
        return distillation_loss(outputs, word, task)

    return compute


def train_weights(
    fabric: Fabric,
    network: nn.Module,
    loader: Loader,
    *,
    name: str,
    epochs: int,
    lr: float,
    loss: Loss,
    teacher: nn.Module | None = None,
    warmup: float = 0.0,
    weight_decay: float = 5e-4,
    validate: Callable[[nn.Module], float] | None = None,
    listener: Listener | None = None,
    history: list[dict[str, Any]] | None = None,
    keeper: Keeper | None = None,
) -> None:
    """SGD with a cosine schedule on all weights of ``network``, in place.

    Args:
        loss: (outputs, targets) -> scalar. teacher: a trained network whose logits are imitated too.
        lr: the peak; warmup: the share of the phase in which it rises.
        validate: measures the network at the end of each epoch (logged, decides nothing).
        keeper: keeps the state, and goes on from what it has.

    Raises:
        Diverged: when the loss is no number.
    """
    if not epochs:
        if keeper is not None:
            keeper.resume(name, {"network": network}, history if history is not None else [])
        return
    own = sgd(network, lr, weight_decay)
    module, optimizer = set_up(fabric, network, own)
    objective = taught_loss(loss, teacher)
    module.train()

    def step(inputs: Any, targets: Any, progress: float) -> Tensor:
        set_lr(optimizer, cosine(progress, lr, warmup))
        optimizer.zero_grad(set_to_none=True)
        value = objective(module(inputs), targets, inputs)
        fabric.backward(value)
        optimizer.step()
        return value.detach()

    def describe() -> dict[str, Any]:
        record: dict[str, Any] = {"lr": optimizer.param_groups[0]["lr"]}
        if validate is not None:
            record["accuracy"] = validate(network)
        return record

    run_epochs(
        fabric, name, loader, epochs, step,
        parts={"network": network, "optimizer": own}, describe=describe, listener=listener or Listener(),
        history=history if history is not None else [], keeper=keeper,
    )  # fmt: skip
