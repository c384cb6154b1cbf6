"""First-order Taylor importance: keep the channels without which the loss would change most."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.gates.gated import Gated
from dnal.methods.method import Method
from dnal.methods.relative import over_mean
from dnal.methods.task import Task
from dnal.space.space import Space
from dnal.space.surgery.running import call
from dnal.train.batch import split
from dnal.train.loader import Loader
from dnal.train.phase import Loss
from dnal.train.scaling import scaler_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric

BATCHES = 50


def taylor_scores(
    fabric: Fabric, network: nn.Module, space: Space, batches: Loader, loss: Loss, *, most: int = BATCHES
) -> Tensor:
    """The squared derivative of the loss by each gate, all gates open, summed over batches; shape (num_gates,).

    A gate multiplies every weight that reads its channel, so its derivative is sum_m g_m w_m over these weights, whose
    square is the importance of Molchanov et al., arXiv 1906.10771, eq. 8. Statistics of batch norm are not moved.

    Args:
        most: so many batches, at most one pass. With a gradient scaler those whose gradients overflow do not count.

    Raises:
        UserError: if those of all do.
    """
    gated = Gated(network, space, start=1.0).to(fabric.device)
    gated.hard = True
    module = fabric.setup(gated)
    scaler, counted = scaler_of(fabric), 0
    total = torch.zeros(space.num_gates, dtype=torch.float64)
    training = network.training
    network.eval()
    for batch in itertools.islice(batches, most):
        inputs, targets = fabric.to_device(split(batch))
        gated.zero_grad(set_to_none=True)
        fabric.backward(loss(call(module, inputs), targets))
        assert gated.s.grad is not None
        # All gates have the same slope d g / d s, which orders nothing.
        gradient = gated.s.grad.detach().double().cpu()
        if scaler is not None:
            scale = scaler.get_scale()
            if not bool(gradient.isfinite().all()):
                scaler.update(scale * scaler.get_backoff_factor())
                continue
            gradient /= scale
        counted += 1
        total += gradient.square()
    gated.zero_grad(set_to_none=True)
    network.train(training)
    if scaler is not None and not counted:
        raise UserError("the gradients of every batch overflow in half precision; choose another precision.")
    return total


@dataclass(frozen=True)
class Taylor(Method):
    """Keeps the channels of the whole network without which the loss on the training data would change most.

    The squared derivative of the loss by each gate, summed over batches; the root of it, over the mean of each group:
    removed at once, not a few at a time with training in between, the raw scores close whole layers. Source: Molchanov
    et al., arXiv 1906.10771, eq. 8.
    """

    gates: ClassVar[bool] = True

    batches: int = option(BATCHES, "Of the training data, at most one pass.", least=1)

    def choose(self, task: Task) -> Removal:
        around = task.context
        scores = taylor_scores(
            around.fabric, task.network, task.space, around.loader, around.loss, most=self.batches
        )  # fmt: skip
        return task.removal(over_mean(scores.sqrt(), task.space))
