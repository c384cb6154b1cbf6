"""DNAL, the default method: architecture parameters and weights learnt together by gradient, under a budget."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.gates.gated import Gated
from dnal.methods.dnal.record import gate_record
from dnal.methods.dnal.search import MET, START, WAIT, BudgetSearch
from dnal.methods.method import Method
from dnal.methods.obs import OBS, kept_by_curves
from dnal.methods.task import Task
from dnal.repair.statistics import LossUnknown
from dnal.train.enough import enough
from dnal.train.evaluate import Validate
from dnal.train.loader import Loader, endless
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.data_position import DataPosition
from dnal.train.scaling import scaler_of
from dnal.train.step import Step
from dnal.train.technique import Technique

RISE = 0.05
"""The share of the search in which the learning rate of the weights rises; then it stays."""


@dataclass(frozen=True)
class DNAL(Method):
    """Learns the gates of all channels by gradient, together with the weights, under the budget.

    Every channel and branch v has an architecture parameter s_v and the scaled sigmoid gate sigmoid(delta s_v) of arXiv
    2103.02126, rounded in the forward pass; projected gradient descent on s keeps the budget, which tightens from the
    whole network (:mod:`dnal.methods.dnal.search` has the formulas). Before that, channels leave down to ``curves_to``
    times the budget as by the method obs, which rebuilds the layers that read them; gates learn the rest. A step costs
    1.01 to 1.09 plain ones.
    """

    trains: ClassVar[bool] = True
    gates: ClassVar[bool] = True
    adapts: ClassVar[bool] = True
    epochs: ClassVar[tuple[int, int, int]] = (40, 4, 56)
    # A longer search was not measurably better, and its steps are as dear as the base's (benchmarks/RESEARCH.md).

    held_out: bool = option(
        False, "Whether batches of the validation data move the gates, instead of the weights' own."
    )
    wait: float = option(WAIT, "Share of the search until which every gate stays open.", least=0, below=1)
    met: float = option(MET, "Share of the search at which the budget is met.", above=0, below=1)
    soft: bool = option(False, "Whether gates are soft in the forward pass too.")
    curves_to: float | None = option(
        1.5,
        "So many times the budget are left by the method obs, with repair, before gates are learnt from there down; "
        "none: gates alone.",
        above=1,
    )

    def choose(self, task: Task) -> Removal:
        around = task.context
        closed = None if self.curves_to is None else self._removed_before(task, self.curves_to)
        gated = Gated(task.network, task.space, start=START, closed=closed).to(around.fabric.device)
        search = self.search(gated, task, around.steps(task.phase.epochs))
        gated.hard = not self.soft
        held_out = task.val if self.held_out else None
        return task.removal(learn_gates(search, task.phase, around, held_out=held_out, validate=task.validate))

    def _removed_before(self, task: Task, times: float) -> Tensor:
        """The channels that leave before the search, bool (num_gates,); the network has been rebuilt without them."""
        around = task.context
        limits = {name: times * limit for name, limit in task.limits.items()}
        within = all(task.space.full_cost[name] <= limit for name, limit in limits.items())
        if within or around.checkpointer.begun(task.phase.name):  # weights and closed gates that were kept come back
            return torch.zeros(task.space.num_gates, dtype=torch.bool)
        around.checkpointer.resume(task.phase.name, {"place": DataPosition(around.loader)}, around.history)
        try:
            return ~kept_by_curves(task, OBS(), limits, branches=False)  # the gates decide about those
        except LossUnknown as error:
            warnings.warn(f"gates alone choose: {error}", stacklevel=3)
            return torch.zeros(task.space.num_gates, dtype=torch.bool)

    def search(self, gated: Gated, task: Task, steps: int) -> BudgetSearch:
        """What moves the gates, in so many steps."""
        return BudgetSearch(gated, task.space, task.limits, steps, widths=task.widths, wait=self.wait, met=self.met)


def learn_gates(
    search: BudgetSearch,
    phase: Phase,
    context: Context,
    *,
    held_out: Loader | None = None,
    validate: Validate | None = None,
) -> Tensor:
    """A phase in which weights and gates learn together, two optimizers: the search of a gated network over all its
    steps.

    Args:
        held_out: batches that move the gates, each after a training batch has moved the weights, so that neither sees
            the other's data. Without them one loss and one backward pass over a training batch move both.
        validate: measures the gated network at the end of each epoch, for the log.

    Returns:
        s at the end, shape (num_gates,): the ranking for the selection.

    Raises:
        Diverged: when the loss is no number.
    """
    run_phase(
        phase, search.gated, context, hooks=[_GateSteps(search, held_out, validate)],
        optimizer=phase.optimizer(search.gated.network, phase.lr), rate=lambda done: phase.lr * min(1.0, done / RISE),
    )  # fmt: skip
    return search.gated.s.detach().cpu()


class _GateSteps(Technique):
    """Moves the gates after every step of the weights."""

    def __init__(self, search: BudgetSearch, held_out: Loader | None, validate: Validate | None) -> None:
        self._search, self._validate = search, validate
        self._position = None if held_out is None else DataPosition(enough(held_out, search.gated.network), alone=False)
        self._others = None if self._position is None else endless(self._position)

    def after_backward(self, step: Step) -> None:
        if self._others is None:  # now: the weights' step ends with the scaler's update
            step.unscale(step.optimizer)
            self._search.step(scaler_of(step.fabric))

    def after_step(self, step: Step) -> None:
        if self._others is not None:
            scaler = scaler_of(step.fabric)
            self._search.gated.zero_grad(set_to_none=True)
            step.backward(step.fabric.to_device(next(self._others)))
            self._search.step(scaler)
            if scaler is not None:
                scaler.update()

    def record(self) -> dict[str, Any]:
        return {**self._search.record(), **gate_record(self._search.gated, self._search.space, self._validate)}

    def state_dict(self) -> dict[str, Any]:
        held_out = {} if self._position is None else {"held_out": self._position.state_dict()}
        return {"search": self._search.state_dict(), **held_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._search.load_state_dict(state["search"])
        if self._position is not None:
            self._position.load_state_dict(state["held_out"])
