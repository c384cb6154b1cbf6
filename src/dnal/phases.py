"""The three phases of a job: the base, the architecture under a budget, and what is left of the network."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.architecture import Architecture
from dnal.compaction import compact
from dnal.deployment import Deployment, kept_bounds
from dnal.learned import Learned
from dnal.methods import method_of
from dnal.methods.task import Task
from dnal.plan import WARMUP, Plan
from dnal.pricing import full_costs, selected, widths_of
from dnal.space.space import Space
from dnal.supernet.text import blocks
from dnal.train.evaluate import Metric, accuracy, accuracy_and_confusion, measured
from dnal.train.fresh import reset
from dnal.train.keeper import Keeper
from dnal.train.listener import Listener
from dnal.train.place import Loader, Place
from dnal.train.weights import Loss, train_weights

if TYPE_CHECKING:
    from dnal.latency import LatencyModel


@dataclass(frozen=True)
class Job:
    """What all budgets of a job share."""

    fabric: Fabric
    order: torch.memory_format
    network: nn.Module
    space: Space
    latency: LatencyModel | None
    example: Tensor
    deployment: Deployment
    train: Loader
    val: Loader
    test: Loader
    loss: Loss
    metric: Metric

    def validate(self, network: nn.Module) -> float:
        return measured(self.metric, network, self.val, "validation")


def train_base(job: Job, plan: Plan, keepers: list[Keeper], settings: list[dict[str, Any]], listener: Listener) -> None:
    """The first phase, once for all budgets that have not come further; the base is in ``job.network`` then."""
    place = Place(job.train)
    waiting = [(keeper, own) for keeper, own in zip(keepers, settings, strict=True) if keeper.phase in (None, "base")]
    if not waiting:
        with keepers[0].believed():
            job.network.load_state_dict(keepers[0].carried("base"))
        return
    leader, own = next(((k, own) for k, own in waiting if k.phase), waiting[0])
    latency = None if job.latency is None else job.latency.document()
    if leader.phase is None:
        leader.begin(
            "base", job=own, history=[], parts={"network": job.network, "place": place},
            carried={"latency": latency},
        )  # fmt: skip
    history: list[dict[str, Any]] = []
    _train(job, job.network, "base", plan, 0, listener, history, leader, warmup=WARMUP)
    for keeper, own in waiting:
        keeper.begin(
            "architecture", job=own, history=history, parts={"place": place},
            carried={"latency": latency, "base": job.network.state_dict()},
        )  # fmt: skip


def shrunk(
    job: Job, base: nn.Module, plan: Plan, settings: dict[str, Any], keeper: Keeper, listener: Listener
) -> Learned:
    """The second and third phase for one budget, or what is left of them, and the figures."""
    teacher = base if plan.distil else None
    working, history = copy.deepcopy(job.network), keeper.history
    if keeper.phase == "architecture":
        architecture = Architecture.of(job.space, _search(job, working, plan, teacher, listener, history, keeper))
        small = compact(working, architecture)
        if plan.init == "fresh":
            reset(small, plan.seed)
        placed(small, job.fabric, job.example, job.order)
        keeper.begin(
            "retrain", job=settings, history=history, parts={"network": small, "place": Place(job.train)},
            carried={name: keeper.carried(name) for name in ("latency", "base")} | {"open": architecture.open},
        )  # fmt: skip
    else:
        with keeper.believed():
            architecture = Architecture.of(job.space, keeper.carried("open"))
        small = compact(working, architecture)
        placed(small, job.fabric, job.example, job.order)
    warmup = WARMUP if plan.init == "fresh" else 0.0
    _train(job, small, "retrain", plan, 2, listener, history, keeper, teacher=teacher, warmup=warmup)
    small.eval()
    base = copy.deepcopy(base)
    for module in (base, small):  # handed back as torch makes them: files of tensors want them contiguous
        placed(module, job.fabric, job.example, torch.contiguous_format)
    begun = time.perf_counter()
    (base_row, small_row), confusion = _measured(job, {"base": base, "compact": small})
    seconds = {
        phase: round(sum(record["seconds"] for record in history if record["phase"] == phase), 3)
        for phase in ("base", "architecture", "retrain")
    }
    seconds["measure"] = round(time.perf_counter() - begun, 3)
    constraints: list[dict[str, Any]] = []
    if plan.budget is not None:
        predicted = {} if job.latency is None else {"latency": job.latency.predicted_ms(job.space, architecture.open)}
        constraints = kept_bounds(plan.budget, base_row, small_row, predicted)
    for row in constraints:
        if not row["holds"]:
            warnings.warn(
                f"the budget {row['bound']} does not hold: {row['got']:.4g} was measured, {row['predicted']:.4g} "
                f"predicted, {row['asked']:.4g} asked. A lower bound leaves room for what was not foreseen.",
                stacklevel=4,
            )
    return Learned(
        small, architecture, job.space, history, base_row, small_row, constraints, settings, seconds, plan.method,
        confusion, blocks(job.network, architecture),
    )  # fmt: skip


def _measured(job: Job, networks: dict[str, nn.Module]) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """The figures of each network, measured by one process while the others wait, and its confusion matrix, where the
    metric has one."""
    rows: list[dict[str, float]] = []
    confusion: dict[str, Tensor] = {}
    if job.fabric.is_global_zero:
        rows = job.deployment.figures(list(networks.values()), job.example, job.space.costs)
    rows = job.fabric.broadcast(rows)
    for row, (name, network) in zip(rows, networks.items(), strict=True):
        if job.metric is not accuracy:
            row["accuracy"] = measured(job.metric, network, job.test, "test")
            continue
        row["accuracy"], matrix = accuracy_and_confusion(network, job.test, "test")
        if matrix is not None:
            confusion[name] = matrix
    return rows, confusion


def _train(
    job: Job,
    network: nn.Module,
    name: str,
    plan: Plan,
    phase: int,
    listener: Listener,
    history: list[dict[str, Any]],
    keeper: Keeper,
    *,
    teacher: nn.Module | None = None,
    warmup: float = 0.0,
) -> None:
    """A phase of the plan that trains weights only, in place."""
    train_weights(
        job.fabric, network, job.train, name=name, epochs=plan.epochs[phase], lr=plan.rates[phase], loss=job.loss,
        teacher=teacher, warmup=warmup, validate=job.validate, listener=listener, history=history, keeper=keeper,
    )  # fmt: skip


def _search(
    job: Job,
    network: nn.Module,
    plan: Plan,
    teacher: nn.Module | None,
    listener: Listener,
    history: list[dict[str, Any]],
    keeper: Keeper,
) -> Tensor:
    """The plan's method on a network, which it may change: the variables that stay, bool, (num_gates,)."""
    space, widths = job.space, widths_of(plan)
    limits = plan.budget.limits(full_costs(space, job.latency)) if plan.budget is not None else {}

    def select(scores: Tensor, tighter: Mapping[str, float] | None = None) -> Tensor:
        return selected(space, scores, {**limits, **(tighter or {})}, widths, job.latency)

    task = Task(
        fabric=job.fabric, network=network, space=space, budget=str(plan.budget), limits=limits, widths=widths,
        select=select, train=job.train, val=job.val, loss=job.loss, epochs=plan.epochs[1], lr=plan.rates[1],
        seed=plan.seed, recipe=plan.recipe, lambda_=plan.lambda_, steps=plan.steps, teacher=teacher,
        validate=job.validate, listener=listener, history=history, keeper=keeper,
    )  # fmt: skip
    method = method_of(plan.method)
    if not method.trains:  # then no loop puts back what was kept of the phase's start, from which the data are drawn
        keeper.resume("architecture", {"place": Place(job.train)}, history)
    return method.choose(task)


def placed(network: nn.Module, fabric: Fabric, example: Tensor, order: torch.memory_format) -> None:
    """Moves the network to its device and, if it works on images, orders its weights in memory."""
    network.to(fabric.device)
    if example.dim() == 4:
        network.to(memory_format=order)
