"""DNAL, the default method: architecture parameters and weights learnt together by gradient, under a budget."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.gates import Gated
from dnal.methods.budget_recipe import MET, START, WAIT, BudgetSearch
from dnal.methods.gate_record import gate_record
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.train.phase import run_phase
from dnal.train.place import Place
from dnal.train.step import Step
from dnal.train.technique import Technique

RISE = 0.05
"""The share of the search in which the learning rate of the weights rises; then it stays."""


@dataclass(frozen=True)
class DNAL(Method):
    """Learns the gates of all channels by gradient, together with the weights, under the budget.

    Every channel and branch v has an architecture parameter s_v and the scaled sigmoid gate sigmoid(delta s_v) of arXiv
    2103.02126, rounded in the forward pass; projected gradient descent on s keeps the budget, which tightens from the
    whole network (:mod:`dnal.methods.budget_recipe` has the formulas). A step costs 1.01 to 1.09 plain ones.
    """

    trains: ClassVar[bool] = True
    epochs: ClassVar[tuple[int, int, int]] = (40, 4, 56)
    # A longer search was not measurably better, and its steps are as dear as the base's (benchmarks/RESEARCH.md).

    held_out: bool = option(
        False, "Whether batches of the validation data move the gates, instead of the weights' own."
    )
    wait: float = option(WAIT, "Share of the search until which every gate stays open.", least=0, below=1)
    met: float = option(MET, "Share of the search at which the budget is met.", above=0, below=1)
    soft: bool = option(False, "Whether gates are soft in the forward pass too.")

    def choose(self, task: Task) -> Removal:
        phase, around = task.phase, task.context
        gated = Gated(task.network, task.space, start=START).to(around.fabric.device)
        search = self.search(gated, task, phase.epochs * len(around.loader))
        gated.hard = not self.soft
        run_phase(
            phase, gated, around, hooks=[GateSteps(gated, search, task, held_out=self.held_out)],
            optimizer=phase.optimizer(task.network, phase.lr), rate=lambda done: phase.lr * min(1.0, done / RISE),
        )  # fmt: skip
        return task.removal(gated.s.detach().cpu())

    def search(self, gated: Gated, task: Task, steps: int) -> BudgetSearch:
        """What moves the gates, in so many steps."""
        return BudgetSearch(gated, task.space, task.limits, steps, widths=task.widths, wait=self.wait, met=self.met)


class GateSteps(Technique):
    """Moves the gates after every step of the weights: by the gradient of the same batch, or with ``held_out`` by that
    of a batch of the validation data, so that neither sees the other's data."""

    def __init__(self, gated: Gated, search: BudgetSearch, task: Task, *, held_out: bool) -> None:
        self._gated, self._search, self._task = gated, search, task
        self._place = Place(task.val, alone=False) if held_out else None
        self._others = None if self._place is None else _endless(self._place)

    def after_step(self, step: Step) -> None:
        if self._others is not None:
            self._gated.zero_grad(set_to_none=True)
            step.backward(step.fabric.to_device(next(self._others)))
        self._search.step()

    def record(self) -> dict[str, Any]:
        return {**self._search.record(), **gate_record(self._gated, self._task.space, self._task.validate)}

    def state_dict(self) -> dict[str, Any]:
        place = {} if self._place is None else {"held_out": self._place.state_dict()}
        return {"search": self._search.state_dict(), **place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._search.load_state_dict(state["search"])
        if self._place is not None:
            self._place.load_state_dict(state["held_out"])


def _endless(place: Place) -> Iterator[Any]:
    while True:
        yield from place
