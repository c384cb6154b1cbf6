"""The three phases of a job: the base, the architecture under a budget, and what is left of the network."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError, reason_of
from dnal.changes import CHANGES, Change, Removal
from dnal.costs.deployment import Deployed, kept_bounds
from dnal.methods.task import Task
from dnal.pipeline.feasibility import full_costs, selected, widths_of
from dnal.pipeline.plan import BASE, RETRAIN, SEARCH, Plan
from dnal.pipeline.result import BaseAndCompact, Figures, Learned
from dnal.pipeline.unread import without_unread
from dnal.pipeline.worth import worth_of
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, of_images
from dnal.supernet.text import blocks
from dnal.train.evaluate import Metric, accuracy, accuracy_and_confusion, measured, name_of
from dnal.train.listener import Listener
from dnal.train.loader import Loader
from dnal.train.loop import Diverged
from dnal.train.outcomes import Collected, Outcomes, outcomes_of
from dnal.train.phase import Context, Loss, Phase, run_phase
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.resume.data_position import DataPosition
from dnal.train.resume.dropout import probabilities, put_probabilities
from dnal.train.resume.early import EarlyWeights
from dnal.train.setup.reinitialize import reset
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.latency import LatencyModel


class Unchosen(UserError):
    """A method found nothing to leave of the network."""


@dataclass(frozen=True)
class Job:
    """What all budgets of a job share."""

    fabric: Fabric
    order: torch.memory_format
    network: nn.Module
    space: Space
    latency: LatencyModel | None
    example: Inputs
    deployment: Deployed
    train: Loader
    val: Loader
    test: Loader
    loss: Loss
    metric: Metric
    accumulate: int = 1

    def around(
        self, base: nn.Module | None, listener: Listener, history: list[dict[str, Any]], checkpointer: Checkpointer
    ) -> Context:
        """Where a phase of this job runs."""
        return Context(
            self.fabric, self.train, self.loss, base, listener, history, checkpointer, accumulate=self.accumulate,
            val=self.val,
        )  # fmt: skip

    def validate(self, network: nn.Module) -> dict[str, float]:
        """What the metric says of a network on the validation data, for the log."""
        return {name_of(self.metric): measured(self.metric, network, self.val, "validation")}


def train_base(
    job: Job, plan: Plan, checkpointers: list[Checkpointer], settings: list[dict[str, Any]], listener: Listener
) -> None:
    """The first phase, once for all budgets that have not come further; the base is in ``job.network`` then."""
    position = DataPosition(job.train)
    waiting = [
        (checkpointer, own)
        for checkpointer, own in zip(checkpointers, settings, strict=True)
        if checkpointer.phase in (None, BASE)
    ]
    if not waiting:
        with checkpointers[0].believed():
            job.network.load_state_dict(checkpointers[0].carried("base"))
            put_probabilities(job.network, checkpointers[0].carried("dropout"))
        return
    leader, own = next(((k, own) for k, own in waiting if k.phase), waiting[0])
    latency = None if job.latency is None else job.latency.document()
    if leader.phase is None:
        leader.begin(
            BASE, job=own, history=[], parts={"network": job.network, "place": position},
            carried={"latency": latency},
        )  # fmt: skip
    history: list[dict[str, Any]] = []
    rewind = plan.asked.method.rewind(plan.asked.base_is_trained)
    early = None if rewind is None else EarlyWeights(rewind)
    _train(job, job.network, plan.phase(BASE), listener, history, leader, hooks=[] if early is None else [early])
    for checkpointer, own in waiting:
        checkpointer.begin(
            SEARCH, job=own, history=history, parts={"place": position},
            carried={
                "latency": latency, "base": job.network.state_dict(), "dropout": probabilities(job.network),
                "early": None if early is None else early.state_of(job.network),
            },
        )  # fmt: skip


def shrunk(
    job: Job, base: nn.Module, plan: Plan, settings: dict[str, Any], checkpointer: Checkpointer, listener: Listener
) -> Learned:
    """The second and third phase for one budget, or what is left of them, and the figures."""
    working, history = copy.deepcopy(job.network), checkpointer.history
    if checkpointer.phase == SEARCH:
        begun = time.perf_counter()
        change = _searched(job, working, plan, base, listener, history, checkpointer)
        checkpointer.end()
        choosing = 0.0 if plan.asked.method.trains else time.perf_counter() - begun  # else the epochs tell
        opened = change.architecture.open if isinstance(change, Removal) and change.architecture is not None else None
        for technique in plan.before_removal():
            technique.before_removal(working, job.space, opened, job.train, job.fabric)
        small = change.apply(working)
        if plan.asked.training.reinitialize:
            reset(small, plan.asked.training.seed)
            change.restore(small)
        placed(small, job.fabric, job.example, job.order)
        carried = {name: checkpointer.carried(name) for name in ("latency", "base", "dropout")}
        checkpointer.begin(
            RETRAIN, job=settings, history=history, parts={"network": small, "place": DataPosition(job.train)},
            carried={**carried, "change": change.document(), "kind": change.file, "choosing": choosing},
        )  # fmt: skip
    else:
        with checkpointer.believed():
            kind = next(kind for kind in CHANGES if kind.file == checkpointer.carried("kind"))
            change = kind.of_document(checkpointer.carried("change"))
            choosing = float(checkpointer.carried("choosing"))
        small = change.apply(working)
        placed(small, job.fabric, job.example, job.order)
    del working  # what it shares with what is left of it stays
    _train(
        job, small, plan.phase(RETRAIN), listener, history, checkpointer, base=base, hooks=change.hooks(small)
    )  # fmt: skip
    checkpointer.end()
    small.eval()
    if any(technique.truncates for technique in plan.phase(RETRAIN).techniques):
        small, change = without_unread(small, change, job.network, job.space, job.example)
    base = copy.deepcopy(base)
    for module in (base, small):  # handed back as torch makes them: files of tensors want them contiguous
        placed(module, job.fabric, job.example, torch.contiguous_format)
    begun = time.perf_counter()
    figures, confusion, outcomes = _measured(job, base, small, change)
    worth = _worth(job, base, small, change, figures, settings["divisor"])
    seconds = {
        phase: round(sum(record["seconds"] for record in history if record["phase"] == phase), 3)
        for phase in (phase.name for phase in plan.phases)
    }
    seconds[SEARCH] = round(seconds[SEARCH] + choosing, 3)
    seconds["measure"] = round(time.perf_counter() - begun, 3)
    constraints: list[dict[str, Any]] = []
    if plan.budget is not None:
        opened = None if change.architecture is None else change.architecture.open
        predicted = (
            {} if job.latency is None or opened is None else {"latency": job.latency.predicted_ms(job.space, opened)}
        )
        constraints = kept_bounds(plan.budget, figures.base.costs, figures.compact.costs, predicted)
    for row in constraints:
        if not row["holds"]:
            # Of what is counted nothing was predicted; a detector's MACs depend on how many boxes it finds.
            foreseen = f"{row['predicted']:.4g} predicted, " if "predicted" in row else ""
            warnings.warn(
                f"the budget {row['bound']} does not hold: {row['got']:.4g} was measured, {foreseen}"
                f"{row['asked']:.4g} asked. A lower bound leaves room for what was not foreseen.",
                stacklevel=4,
            )
    return Learned(
        small, change, job.space, history, figures, constraints, settings, seconds,
        settings["method"]["name"], confusion,
        [] if change.architecture is None else blocks(job.network, change.architecture), outcomes, worth,
    )  # fmt: skip


def _measured(
    job: Job, base: nn.Module, small: nn.Module, change: Change
) -> tuple[BaseAndCompact, dict[str, Tensor], Outcomes | None]:
    """The figures of both networks, whose costs are measured by one process while the others wait, their confusion
    matrices, where the metric has one, and what the compact one makes of each example."""
    networks, data = {"base": base, "compact": small}, "validation" if job.test is job.val else "test"
    costs: list[dict[str, float]] = []
    confusion: dict[str, Tensor] = {}
    if job.fabric.is_global_zero:
        costs = job.deployment.figures([base, small], job.example, {*job.space.costs, *change.figures})
    costs = job.fabric.broadcast(costs)
    said, collected = [], Collected(accuracy)
    for name, network in networks.items():
        if job.metric is not accuracy:
            said.append(measured(job.metric, network, job.test, data))
            continue
        value, matrix = accuracy_and_confusion(network, job.test, data, collected.add if name == "compact" else None)
        said.append(value)
        if matrix is not None:
            confusion[name] = matrix
    before, after = (Figures(own, value) for own, value in zip(costs, said, strict=True))
    outcomes = collected.outcomes() if job.metric is accuracy else outcomes_of(job.metric, small, job.test, data)
    return BaseAndCompact(before, after, name_of(job.metric), data), confusion, outcomes


def _worth(
    job: Job, base: nn.Module, small: nn.Module, change: Change, figures: BaseAndCompact, divisor: int | str
) -> dict[str, Any] | None:
    """What the MACs that were removed are worth, measured by one process."""
    if change.architecture is None or not isinstance(change, Removal) or not job.fabric.is_global_zero:
        return None
    costs = (figures.base.costs, figures.compact.costs)
    opened = change.architecture.open
    try:
        found = worth_of(base, small, opened, job.space, job.deployment, job.example, costs, divisor)
    except Exception as error:  # all is learnt and measured: nothing of this is needed
        warnings.warn(f"what the MACs are worth in time was not measured ({reason_of(error)}).", stacklevel=4)
        return None
    return None if found is None else found.document()


def _train(
    job: Job,
    network: nn.Module,
    phase: Phase,
    listener: Listener,
    history: list[dict[str, Any]],
    checkpointer: Checkpointer,
    *,
    base: nn.Module | None = None,
    hooks: Sequence[Technique] = (),
) -> None:
    """A phase that trains weights only, in place."""
    around = job.around(base, listener, history, checkpointer)
    run_phase(phase, network, around, hooks=hooks, validate=job.validate)


def _searched(
    job: Job,
    network: nn.Module,
    plan: Plan,
    base: nn.Module,
    listener: Listener,
    history: list[dict[str, Any]],
    checkpointer: Checkpointer,
) -> Change:
    """What the plan's method makes of a network, which it may train."""
    space, widths, method = job.space, widths_of(plan, job.space), plan.asked.method
    limits = plan.budget.limits(full_costs(space, job.latency)) if plan.budget is not None else {}

    def select(scores: Tensor, tighter: Mapping[str, float] | None = None) -> Tensor:
        return selected(space, scores, {**limits, **(tighter or {})}, widths, job.latency)

    task = Task(
        network=network, space=space, budget=str(plan.budget), limits=limits, widths=widths, select=select, val=job.val,
        phase=plan.phase(SEARCH),
        context=job.around(base, listener, history, checkpointer),
        seed=plan.asked.training.seed, validate=job.validate, early=checkpointer.carried("early"),
    )  # fmt: skip
    if not method.trains:  # then no loop puts back what was kept of the phase's start, from which the data are drawn
        checkpointer.resume(SEARCH, {"place": DataPosition(job.train)}, history)
    try:
        return method.choose(task)
    except Diverged:
        raise
    except UserError as error:
        raise Unchosen(str(error)) from error


def placed(network: nn.Module, fabric: Fabric, example: Inputs, order: torch.memory_format) -> None:
    """Moves the network to its device and, if it works on images, orders its weights in memory."""
    network.to(fabric.device)
    if of_images(example):
        network.to(memory_format=order)
