"""The one optimisation step: forward, loss, backward, the optimizer, and the hooks of techniques between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dnal.space.surgery.running import call
from dnal.train.accumulation import Group
from dnal.train.scaling import scaler_of
from dnal.train.setup.fabric import set_up
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Rate = Callable[[float], float]
"""Progress of the phase from 0 to 1 -> the learning rate."""


class Step:
    """Does one step a call. Hooks read what they need of it.

    Args:
        network: what is trained; its parameters that require gradients are those of ``optimizer``, or of ``others``.
        optimizer: of the weights, whose learning rate follows ``rate``; others: such as that of the gates, which the
            hooks step.
        loss: (outputs, targets) -> scalar.
        techniques: in the order in which they act.

    Attributes:
        module, optimizer, others: as Fabric has set them up. task_loss: ``loss``.
        progress: of the phase, from 0 to 1, at this step's end.
    """

    def __init__(
        self,
        fabric: Fabric,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Callable[[Any, Any], Tensor],
        rate: Rate,
        techniques: Sequence[Technique] = (),
        others: Sequence[torch.optim.Optimizer] = (),
    ) -> None:
        self.fabric, self.network, self.techniques, self.rate = fabric, network, list(techniques), rate
        self.module, *optimizers = set_up(fabric, network, optimizer, *others)
        self.optimizer, self.others = optimizers[0], optimizers[1:]
        self.progress = 0.0
        self._unscaled: set[int] = set()
        self.task_loss = loss

    def __call__(self, batch: Any, progress: float) -> Tensor:
        """One step on a batch as (inputs, targets), which is on the device, or on a group of them, whose gradients add
        up to those of one batch of all their examples; returns the loss."""
        self.progress = progress
        self._unscaled.clear()
        set_lr(self.optimizer, self.rate(progress))
        value = self._of_group(batch) if isinstance(batch, Group) else self._of_batch(batch)
        for technique in self.techniques:
            technique.after_backward(self)
        self.optimizer.step()
        for technique in self.techniques:
            technique.after_step(self)
        return value.detach()

    def _of_batch(self, batch: Any, *, first: bool = True, share: float = 1.0) -> Tensor:
        """The loss of a batch and its gradients, which replace those that are there, or join them."""
        for technique in self.techniques:
            batch = technique.batch(batch, self)
        if first:
            self.module.zero_grad(set_to_none=True)
        return self.backward(batch, share)

    def _of_group(self, group: Group) -> Tensor:
        """The same of several batches. Processes exchange gradients with the last of them only."""
        losses = []
        last = len(group.batches) - 1
        for number, (batch, share) in enumerate(zip(group.batches, group.shares(), strict=True)):
            alone = self.fabric.world_size > 1 and number < last
            with self.fabric.no_backward_sync(self.module) if alone else nullcontext():
                own = self._of_batch(self.fabric.to_device(batch), first=not number, share=share)
            losses.append(share * own.detach())
        return torch.stack(losses).sum()

    def backward(self, batch: Any, share: float = 1.0) -> Tensor:
        """The loss of a batch with everything that techniques make of it, and the gradients of this share of it."""
        inputs, targets = batch
        outputs = call(self.module, inputs)
        value = self.task_loss(outputs, targets)
        for technique in self.techniques:
            value = technique.loss(value, batch, outputs, self)
        self.fabric.backward(value if share == 1 else value * share)
        return value

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """After the backward pass: takes the scale of half precision out of the gradients of ``optimizer``, which is
        this step's own or one of the others; where there is no scale, or it is out already, nothing is done."""
        scaler = scaler_of(self.fabric)
        if scaler is not None and id(optimizer) not in self._unscaled:
            self._unscaled.add(id(optimizer))
            scaler.unscale_(optimizer.optimizer)  # type: ignore[attr-defined]  # that which Fabric wraps


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of every parameter group, times its ``lr_scale`` where it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"] if "lr_scale" in group else lr
