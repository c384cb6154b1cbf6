"""DNAL as published: arXiv 2103.02126, second phase.

Weights are frozen bit for bit (batch norm keeps using batch statistics); s starts at 0, so every gate at 0.5; SGD (lr
.01, momentum .9, no weight decay) on s alone minimises task loss + lambda * sum_v sigmoid(s_v), with the UNSCALED
sigmoid in the penalty, while delta grows by a constant factor per epoch to 10^4. A channel stays iff its gate is above
.9. Here the gates stand at the readers: the same function as the paper's layer on convolution - batch norm - ReLU
chains; behind ReLU6 and in residual streams (one tied variable instead of one gate per block) it is not.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.gates.functions import sigmoid_gates
from dnal.gates.gated import Gated
from dnal.methods.dnal.record import gate_record
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.selection.select import fits, least_costs
from dnal.selection.widths import WidthRule
from dnal.space.space import Space
from dnal.train.evaluate import Validate
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.step import Step
from dnal.train.technique import Technique

THRESHOLD = 0.9
RATE = 0.01
"""Learning rate of s."""


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
    return torch.optim.SGD([gated.s], lr=RATE, momentum=0.9, weight_decay=0.0)


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


@dataclass(frozen=True)
class Paper(Method):
    """DNAL as published: gates alone are learnt while the weights are frozen, under a penalty and no budget.

    Loss + lambda * sum_v sigmoid(s_v), with the scale of the sigmoid growing to 10^4; a channel stays if its gate is
    above .9. Given a budget too, it drops the lowest-ranked channels until that holds. Source: arXiv 2103.02126,
    Algorithm 1.
    """

    trains: ClassVar[bool] = True
    gates: ClassVar[bool] = True
    needs_budget: ClassVar[bool] = False
    prunes_blocks: ClassVar[bool] = False
    techniques: ClassVar[tuple[str, ...]] = ()

    penalty: float = option(1e-4, "lambda, the weight of the penalty: the only control of the size.", least=0)

    def choose(self, task: Task) -> Removal:
        space, s = task.space, ranked(task, self.penalty)
        stays = chosen(space, s, delta_of_epoch(task.phase.epochs, task.phase.epochs))
        if not fits(space.costs, task.limits, stays):
            warnings.warn(
                f"lambda={self.penalty:g} left the network above the budget {task.budget}; its lowest-ranked channels "
                "are dropped too. A larger lambda closes more.",
                stacklevel=6,
            )
            return task.removal(s)
        if task.widths == WidthRule():
            return Removal.among(space, stays)
        # The paper knows no rule for widths: of the allowed ones, those that cost no more than what it chose.
        own = max(space.cost_of(stays)["macs"], least_costs(space, task.widths)["macs"])
        return Removal.among(space, task.select(s, {"macs": min(own, task.limits.get("macs", own))}))


def search(
    gated: Gated,
    space: Space,
    phase: Phase,
    context: Context,
    weight: float,
    *,
    validate: Validate | None = None,
) -> Tensor:
    """The published phase. Weights come back trainable and bit for bit as they were (batch norm's running statistics
    are no weights and move on).

    Args:
        weight: of the penalty, lambda. validate: measures the gated network at the end of each epoch, for the log.

    Returns:
        s at the end, shape (num_gates,), for :func:`chosen` at delta = 10^4.

    Raises:
        Diverged: when the loss is no number.
    """
    trained = [parameter for parameter in gated.network.parameters() if parameter.requires_grad]
    run_phase(
        phase, gated, context, hooks=[_Penalised(gated, space, phase.epochs, weight, validate)],
        optimizer=architecture_optimizer(gated), rate=lambda progress: RATE,
    )  # fmt: skip
    for parameter in trained:
        parameter.requires_grad_(True)
    return gated.s.detach().cpu()


def ranked(task: Task, weight: float) -> Tensor:
    """:func:`search` on a task."""
    gated = Gated(task.network, task.space).to(task.context.fabric.device)
    return search(gated, task.space, task.phase, task.context, weight, validate=task.validate)


class _Penalised(Technique):
    """The growing scale, and the penalty."""

    def __init__(
        self,
        gated: Gated,
        space: Space,
        epochs: int,
        weight: float,
        validate: Validate | None,
    ) -> None:
        self._gated, self._space, self._epochs = gated, space, epochs
        self._weight, self._validate = weight, validate

    def batch(self, batch: Any, step: Step) -> Any:
        # progress is that of the step's end; the last step of epoch k has k / E2
        epoch = min(self._epochs, 1 + int((step.progress - 1e-9) * self._epochs))
        self._gated.delta = delta_of_epoch(epoch, self._epochs)
        return batch

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        return value + penalty(self._gated.s, self._weight)

    def record(self) -> dict[str, Any]:
        return {"lambda": self._weight, **gate_record(self._gated, self._space, self._validate)}
