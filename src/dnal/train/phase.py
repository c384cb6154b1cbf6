"""A phase of a job, and its run: the one loop over the one step, with the hooks of techniques."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dnal.train.accumulation import steps_of
from dnal.train.evaluate import Validate
from dnal.train.listener import Listener
from dnal.train.loader import Loader
from dnal.train.loop import run_epochs
from dnal.train.optimizers import MakeOptimizer, sgd
from dnal.train.resume.checkpointer import Checkpointer, Stateful
from dnal.train.schedule import Schedule, cosine
from dnal.train.step import Rate, Step
from dnal.train.technique import Scene, Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric

Loss = Callable[[Any, Any], Tensor]
"""(outputs, targets) -> a scalar."""


WHOLE = (0.0, 1.0)
"""The part of a schedule that a phase covers which has one of its own."""


@dataclass(frozen=True)
class Phase:
    """What a phase of training is.

    Attributes:
        name: "base", "architecture" or "retrain", or one of the user's own.
        lr: the peak learning rate of the weights. warmup: the share of the phase in which it rises.
        techniques: those that act in it, in their order.
        optimizer: makes that of the weights. schedule: its learning rate over the phase.
        part: of the schedule, from 0 to 1, which this phase covers: the whole, or what a job's one schedule leaves it.
            The warmup is then a share of the whole.
    """

    name: str
    epochs: int
    lr: float
    warmup: float = 0.0
    techniques: tuple[Technique, ...] = ()
    optimizer: MakeOptimizer = sgd
    schedule: Schedule = cosine
    part: tuple[float, float] = WHOLE

    def rate(self, progress: float) -> float:
        """The learning rate of the weights at a progress of the phase from 0 to 1."""
        start, end = self.part
        return self.schedule(start + progress * (end - start), self.lr, self.warmup)

    @property
    def alone(self) -> bool:
        """Whether the phase has a schedule of its own."""
        return self.part == WHOLE

    def share(self, number: int, count: int) -> Phase:
        """The share ``number``, from 1, of the ``count`` in which the epochs of a phase are spent. Each has the whole
        schedule, except for its part where the phase has one of the whole job."""
        begin, end = ((self.epochs * done) // count for done in (number - 1, number))
        own = replace(self, epochs=end - begin)
        if self.alone:
            return own
        start, stop = self.part
        width = (stop - start) / max(1, self.epochs)
        return replace(own, part=(start + begin * width, start + end * width))


@dataclass(frozen=True)
class Context:
    """Where a phase runs, the same for all of a job.

    Attributes:
        loader: training batches. base: the trained network before removal, where there is one.
        history: receives one record per epoch.
        checkpointer: keeps the state, and goes on from what it has.
        accumulate: batches of a step.
        val: validation data, for techniques that choose something by them; None: there are none.
    """

    fabric: Fabric
    loader: Loader
    loss: Loss
    base: nn.Module | None = None
    listener: Listener = field(default_factory=Listener)
    history: list[dict[str, Any]] = field(default_factory=list)
    checkpointer: Checkpointer = field(default_factory=Checkpointer)
    accumulate: int = 1
    val: Loader | None = None

    def steps(self, epochs: int) -> int:
        """Steps of so many epochs."""
        return epochs * steps_of(self.loader, self.accumulate)


def run_phase(
    phase: Phase,
    network: nn.Module,
    context: Context,
    *,
    hooks: Sequence[Technique] = (),
    optimizer: torch.optim.Optimizer | None = None,
    others: Mapping[str, torch.optim.Optimizer] | None = None,
    rate: Rate | None = None,
    validate: Validate | None = None,
) -> None:
    """Trains ``network`` in place for the epochs of a phase, or what is left of them.

    Args:
        hooks: of the caller, such as a search; they act after the phase's techniques.
        optimizer: of the weights, if the phase's own is not meant. others: further ones by name, which hooks step.
        rate: progress -> learning rate of ``optimizer``, instead of the phase's schedule where the phase has one of
            its own; one of the whole job is always kept to.
        validate: measures the network at the end of each epoch (logged, decides nothing).

    Raises:
        Diverged: when the loss is no number.
        Stopped: when the checkpointer is asked to stop.
    """
    fabric, loader, checkpointer = context.fabric, context.loader, context.checkpointer
    checkpointer.resume_start(phase.name, network)
    if not phase.epochs:
        checkpointer.resume(phase.name, {"network": network}, context.history)
        return
    scene = Scene(phase.name, phase.epochs, context.steps(phase.epochs), context.base, context.loss, context.val)
    techniques = [*(replace(technique) for technique in phase.techniques), *hooks]
    for technique in techniques:
        loader = technique.data(loader, scene)
    for technique in sorted(techniques, key=lambda one: (one.turn, not one.reparametrises)):
        technique.prepare(network, scene)
    own = optimizer or phase.optimizer(network, phase.lr)
    added = [parameter for technique in techniques for parameter in technique.parameters()]
    if added:
        own.add_param_group({"params": added, "weight_decay": 0.0})
    for technique in techniques:
        technique.optimizer(own)
    others = dict(others or {})
    step = Step(
        fabric, network, own, context.loss, rate if rate is not None and phase.alone else phase.rate,
        techniques, list(others.values()),
    )  # fmt: skip
    step.module.train()

    def describe() -> dict[str, Any]:
        record: dict[str, Any] = {"lr": step.optimizer.param_groups[0]["lr"]}
        for technique in techniques:
            record |= technique.record()
        network.zero_grad(set_to_none=True)  # the next step makes its own; a measurement needs memory too
        return record if validate is None else record | validate(network)

    parts: dict[str, Stateful] = {"network": network, "optimizer": own, **others, "techniques": _States(techniques)}
    run_epochs(
        fabric, phase.name, loader, phase.epochs, step, parts=parts, describe=describe, listener=context.listener,
        history=context.history, checkpointer=checkpointer, accumulate=context.accumulate,
    )  # fmt: skip
    for technique in sorted(techniques, key=lambda one: (one.truncates, one.reparametrises)):
        technique.finish(network)
    network.zero_grad(set_to_none=True)  # as much memory as the weights take, for nobody


class _States:
    """The states of several techniques as one."""

    def __init__(self, techniques: Sequence[Technique]) -> None:
        self._techniques = techniques

    def state_dict(self) -> list[dict[str, Any]]:
        return [technique.state_dict() for technique in self._techniques]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        for technique, state in zip(self._techniques, states, strict=True):
            technique.load_state_dict(state)
