"""DNAL as published (recipe "paper"): arXiv 2103.02126, second phase.

Weights are frozen bit for bit (batch norm keeps using batch statistics); s starts at 0, so every gate at 0.5; SGD (lr
.01, momentum .9, no weight decay) on s alone minimises task loss + lambda * sum_v sigmoid(s_v), with the UNSCALED
sigmoid in the penalty, while delta grows by a constant factor per epoch to 10^4. A channel stays iff its gate is above
.9. Here the gates stand at the readers: the same function as the paper's layer on convolution - batch norm - ReLU
chains; behind ReLU6 and in residual streams (one tied variable instead of one gate per block) it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.gates import Gated, sigmoid_gates
from dnal.methods.gate_record import gate_record
from dnal.space.space import Space
from dnal.train.keeper import Keeper
from dnal.train.listener import Listener
from dnal.train.loop import run_epochs
from dnal.train.place import Loader
from dnal.train.weights import Loss, taught_loss

THRESHOLD = 0.9


def delta_of_epoch(epoch: int, epochs: int) -> float:
    """delta_k = 10^(4 k / E2) for the epochs k = 1..E2: the last one has 10^4.

    Examples:
        >>> [round(delta_of_epoch(epoch, epochs=4)) for epoch in (1, 2, 3, 4)]
        [10, 100, 1000, 10000]
    """
    return float(10 ** (4 * epoch / epochs))


def penalty(s: Tensor, weight: float) -> Tensor:
    """lambda * sum_v sigmoid(s_v) over the architecture parameters, shape (num_gates,)."""
    return weight * torch.sigmoid(s).sum()


def architecture_optimizer(gated: Gated) -> torch.optim.SGD:
    """Freezes every weight, sets s to 0 and returns the paper's SGD on s alone."""
    for parameter in gated.network.parameters():
        parameter.requires_grad_(False)
    with torch.no_grad():
        gated.s.zero_()
    gated.hard = False
    gated.enabled = True
    return torch.optim.SGD([gated.s], lr=0.01, momentum=0.9, weight_decay=0.0)


def chosen(space: Space, s: Tensor, delta: float) -> Tensor:
    """The variables whose gate is above .9 (bool, (num_gates,)); a group that would be empty keeps its best one,
    since the paper gives no rule for a layer that closes altogether."""
    s = s.detach().cpu()
    open_variables = sigmoid_gates(s, delta) > THRESHOLD
    for group in space.groups:
        if not bool(open_variables[group.variables].any()):
            open_variables[group.variables[s[group.variables].argmax()]] = True
    for choice in space.choices:
        if not bool(open_variables[choice].any()):
            open_variables[choice[s[choice].argmax()]] = True
    return open_variables


def search(
    fabric: Fabric,
    gated: Gated,
    space: Space,
    loader: Loader,
    *,
    epochs: int,
    lambda_: float,
    loss: Loss,
    teacher: nn.Module | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    listener: Listener | None = None,
    history: list[dict[str, Any]] | None = None,
    keeper: Keeper | None = None,
) -> Tensor:
    """The architecture phase of the paper over the training data; weights come back trainable and bit for bit as they
    were (batch norm's running statistics are no weights and move on).

    Args:
        lambda_: the weight of the penalty, the method's only control of the size.

    Returns:
        s at the end, shape (num_gates,), for :func:`chosen` at delta = 10^4.

    Raises:
        Diverged: when the loss is no number.
    """
    trained = [parameter for parameter in gated.network.parameters() if parameter.requires_grad]
    own = architecture_optimizer(gated)
    module, optimizer = fabric.setup(gated, own)
    objective = taught_loss(loss, teacher)
    module.train()

    def step(inputs: Any, targets: Any, progress: float) -> Tensor:
        # progress is that of the step's end; the last step of epoch k has k / E2
        epoch = min(epochs, 1 + int((progress - 1e-9) * epochs))
        gated.delta = delta_of_epoch(epoch, epochs)
        optimizer.zero_grad(set_to_none=True)
        value = objective(module(inputs), targets, inputs) + penalty(gated.s, lambda_)
        fabric.backward(value)
        optimizer.step()
        return value.detach()

    def describe() -> dict[str, Any]:
        return {"lr": 0.01, "lambda": lambda_, **gate_record(gated, space, validate)}

    run_epochs(
        fabric, "architecture", loader, epochs, step,
        parts={"gated": gated, "optimizer": own}, describe=describe, listener=listener or Listener(),
        history=history if history is not None else [], keeper=keeper,
    )  # fmt: skip
    for parameter in trained:
        parameter.requires_grad_(True)
    return gated.s.detach().cpu()
