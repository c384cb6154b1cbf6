"""Everything that is decided before the first step: what may vary, what it costs, which numbers to compute with."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.costs.deployment import Deployed
from dnal.methods import METHODS, Method
from dnal.pipeline.asked import Shared
from dnal.pipeline.feasibility import priced, ranges, widths_of
from dnal.pipeline.phases import Job, placed
from dnal.pipeline.plan import Plan
from dnal.selection.ranking import Ranking
from dnal.settings import Numerics
from dnal.space.explain import commonest_reasons
from dnal.space.space import Space
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size, of_images, sizes
from dnal.train.batch import InPairs, Reading, check_called, split
from dnal.train.checked import Classes, check_inputs, check_known, checked, classes_of
from dnal.train.enough import enough
from dnal.train.evaluate import Metric, accuracy
from dnal.train.listener import Listener, Listeners
from dnal.train.loader import Loader, check_length, first_batch
from dnal.train.outputs import task_loss
from dnal.train.phase import Loss
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.rows import is_of_examples, to_device
from dnal.train.setup.dry_run import check, check_gateable, check_runs, examples
from dnal.train.setup.numerics import ORDERS, chosen_numerics, fabric_of, workable
from dnal.train.setup.processes import shared_out
from dnal.train.setup.reinitialize import check_resettable
from dnal.train.source import fingerprint
from dnal.train.technique import Technique

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.latency import LatencyModel

PLACE = ("threads", "device", "precision", "memory_format", "processes")
"""Settings that belong to the machine: a job may go on with others, though not to the same last digit."""


class JobData(NamedTuple):
    """Batches that move something, that are looked at, and that are measured once; the last two may be one loader."""

    train: Loader
    val: Loader
    test: Loader

    def read(self, reading: Reading) -> JobData:
        """The same whose batches are pairs; what was one loader stays one."""
        train, val = InPairs(self.train, reading), InPairs(self.val, reading)
        return JobData(train, val, val if self.test is self.val else InPairs(self.test, reading))


class _Tried(NamedTuple):
    """What the first batches say.

    Attributes:
        data: whose batches are pairs. held_out: the first batch of each of ``named``, as inputs and targets.
        named: the data that are held out, by what messages call them. example: inputs to trace the network with.
    """

    data: JobData
    held_out: list[tuple[Inputs, Any]]
    named: dict[str, Loader]
    example: Inputs


def prepared(
    network: nn.Module,
    data: JobData,
    plans: list[Plan],
    checkpointers: list[Checkpointer],
    listeners: list[Listener],
    fabric: Fabric,
    shared: Shared,
) -> tuple[Job, list[Plan], list[dict[str, Any]]]:
    """Decides it, and tells the listeners.

    Returns:
        the job, the plans with nothing left open, and the settings of each as plain values.
    """
    plans, latency, numerics = _as_kept(plans, checkpointers, shared.get("latency"))
    asked = plans[0].asked
    check_length(data.train, "training")
    methods = [plan.asked.method for plan in plans]
    if any(getattr(method, "held_out", False) for method in methods):  # then they move something too
        check_length(data.val, "validation")
    deployment = Deployed.of(asked.deployment.deploy_batch_size, asked.deployment.backend)
    tried = _tried(network, data, fabric, shared)
    example = tried.example
    space = _space(network, example, plans)
    loss, metric = shared.get("loss") or task_loss, shared.get("metric") or accuracy
    for batch in tried.held_out:
        check(network, fabric.to_device(batch), loss, metric, asked.techniques)
    _check_optimizers(network, plans)
    inputs, targets = fabric.to_device(examples(tried.held_out[0]))
    if any(method.gates for method in methods):
        check_gateable(network, inputs)
    train = _checked_training_data(network, tried, fabric, (inputs, targets), loss, metric)
    shares = shared_out(train, fabric)
    if not len(shares) and any(phase.epochs for plan in plans for phase in plan.phases):
        raise UserError("the training data give no batch; lower the batch size, add images, or use fewer processes.")
    layout = workable(numerics.memory_format, network, inputs, targets, loss)
    everyone = Listeners(listeners)
    space, plans, model = _by_one(
        fabric, lambda own, known: priced(space, own, deployment, network, example, known, everyone), plans, latency
    )
    _warn_of_unlike_layers(space, plans)
    asking = {frozenset(plan.budget.bounds) if plan.budget else None: plan for plan in plans}  # one each of a budget
    everyone.space(space, ranges(space, list(asking.values()), model))
    if shared.get("fabric") is None:
        macs = space.full_cost["macs"]
        precision, layout = chosen_numerics(fabric, numerics.precision, layout, network, macs, tried.held_out[0], loss)
        fabric = fabric_of(precision)
    order = ORDERS["channels_last" if layout == "auto" else layout]
    torch.manual_seed(asked.training.seed)
    settings = _settings(plans, checkpointers, _decided(fabric, order, example, space), fingerprint(network))
    if model is not None:
        everyone.latency(model)
    for own, listener in zip(settings, listeners, strict=True):
        listener.start(own)
    placed(network, fabric, example, order)
    held = tried.data
    job = Job(
        fabric, order, network, space, model, example, deployment, shares, held.val, held.test, loss, metric,
        asked.training.accumulate,
    )  # fmt: skip
    return job, plans, settings


def _tried(network: nn.Module, data: JobData, fabric: Fabric, shared: Shared) -> _Tried:
    """Looks at the first batch of what is held out, and moves the network to its device.

    Raises:
        UserError: the network cannot be called with the inputs, or fails on them.
    """
    named = {"validation": data.val} if data.test is data.val else {"validation": data.val, "test": data.test}
    first = [first_batch(loader, kind) for kind, loader in named.items()]
    reading = Reading.of(network, first[0], shared.get("batch"))
    if reading is not None:
        first = [reading(batch) for batch in first]
        data = data.read(reading)
        named = dict(zip(named, (data.val, data.test), strict=False))
    held_out = [split(batch) for batch in first]
    for (inputs, _), kind in zip(held_out, named, strict=True):
        check_called(network, inputs, kind)
    example = fabric.to_device(_example(held_out[0][0], reading, shared.get("example_inputs")))
    placed(network, fabric, example, torch.contiguous_format)  # as it is handed back, so that this is what is timed
    for (inputs, _), kind in zip(held_out, named, strict=True):
        if not isinstance(inputs, Tensor):
            check_runs(network, to_device(inputs, fabric.device), kind)
        check_inputs(network, inputs, kind)
    return _Tried(data, held_out, named, example)


def _space(network: nn.Module, example: Inputs, plans: list[Plan]) -> Space:
    """What may vary.

    Raises:
        UserError: nothing does, or what is asked cannot be done with this network.
    """
    widths = plans[0].asked.widths
    for method in (plan.asked.method for plan in plans if widths.norms == "open"):
        if method.grows or not method.takes_budget:
            raise UserError(
                f"'{METHODS.name_of(method)}' keeps what a network computes, which norms over fewer or more channels "
                "do not; leave norms=open out."
            )
    space = Space.of(
        network, example, include=widths.include, exclude=widths.exclude, depth=bool(widths.prune_blocks),
        norms=widths.norms,
    )  # fmt: skip
    _check_removable(space, chosen_by_name=bool(widths.include or widths.exclude))
    for plan in plans:
        _check_trained(network, plan)
    checked_methods: list[Method] = []
    for method in (plan.asked.method for plan in plans):
        if method not in checked_methods:
            method.check(network, space)
            checked_methods.append(method)
    if any(plan.asked.training.reinitialize for plan in plans):
        check_resettable(network)
    return space


def _check_optimizers(network: nn.Module, plans: list[Plan]) -> None:
    """Refuses techniques that cannot work with the optimizer of a phase in which they act.

    Raises:
        UserError: as :meth:`Technique.check_optimizer`.
    """
    for phase in (phase for plan in plans for phase in plan.phases if phase.epochs):
        asking = [each for each in phase.techniques if type(each).check_optimizer is not Technique.check_optimizer]
        if asking:  # a function of the user's may take its time
            optimizer = phase.optimizer(network, phase.lr)
            for technique in asking:
                technique.check_optimizer(optimizer)


def _settings(
    plans: list[Plan], checkpointers: list[Checkpointer], decided: dict[str, Any], code: str
) -> list[dict[str, Any]]:
    """What was asked and decided, per plan, as plain values; a job that goes on must be the same."""
    settings = [plan.settings() | decided | {"code": code} for plan in plans]
    for checkpointer, own in zip(checkpointers, settings, strict=True):
        checkpointer.check(_identity(own))
    _warn_of_other_code(checkpointers, code)
    return settings


def _checked_training_data(
    network: nn.Module,
    tried: _Tried,
    fabric: Fabric,
    batch: tuple[Any, Any],
    loss: Loss,
    metric: Metric,
) -> Loader:
    """The training data, each batch of which is looked at before it is trained on, and without a last batch that batch
    norm cannot take. What can be looked at before training is; ``batch``: a few held-out examples."""
    inputs, targets = batch
    classes = classes_of(network, inputs, targets, loss)
    check_known(tried.data.train, network, classes, "training")
    held_classes = Classes(classes.count) if classes is not None and metric is accuracy else None
    for kind, loader in tried.named.items():
        check_known(loader, network, held_classes, kind)
    return checked(enough(tried.data.train, network, fabric.world_size), network, classes, "training")


def _as_kept(
    plans: list[Plan], checkpointers: list[Checkpointer], latency: LatencyModel | str | Path | None
) -> tuple[list[Plan], LatencyModel | str | Path | None, Numerics]:
    """Plans, latency model and numerics with what timing decided when a job that goes on was begun."""
    numerics = plans[0].asked.numerics
    kept = next((checkpointer for checkpointer in checkpointers if checkpointer.tree is not None), None)
    if kept is None:
        return plans, latency, numerics
    decided = []
    for plan, checkpointer in zip(plans, checkpointers, strict=True):
        if plan.asked.widths.divisor == "auto" and "divisor" in checkpointer.job:
            plan = plan.with_widths(divisor=checkpointer.job["divisor"])
        if plan.asked.deployment.backend == "auto" and "backend" in checkpointer.job:
            plan = plan.with_backend(checkpointer.job["backend"])
        decided.append(plan)
    open_ = [name for name in ("precision", "memory_format") if getattr(numerics, name) == "auto"]
    with kept.believed():
        numerics = replace(numerics, **{name: kept.job[name] for name in open_})
    return decided, _known(kept) or latency, numerics


def _decided(fabric: Fabric, order: torch.memory_format, example: Inputs, space: Space) -> dict[str, Any]:
    """What the machine and the network decided, as plain values."""
    return {
        "precision": str(fabric.strategy.precision.precision),
        "memory_format": "channels_last" if order is torch.channels_last and of_images(example) else "contiguous",
        "threads": torch.get_num_threads(),
        "device": fabric.device.type,
        "processes": fabric.world_size,
        "input_shape": sizes(example),
        "variables": space.num_variables,
        "branches": space.num_branches,
    }


def _by_one(
    fabric: Fabric,
    price: Callable[[list[Plan], Any], tuple[Space, list[Plan], LatencyModel | None]],
    plans: list[Plan],
    latency: LatencyModel | str | Path | None,
) -> tuple[Space, list[Plan], LatencyModel | None]:
    """``price`` of the plans, timed by one of the processes, while nothing else runs, and sent to the others."""
    if fabric.is_global_zero:
        space, plans, model = price(plans, latency)
        fabric.broadcast((plans, model))
        return space, plans, model
    return price(*fabric.broadcast((plans, None)))


def _identity(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that make it this job, wherever it runs."""
    return {name: value for name, value in settings.items() if name not in (*PLACE, "code")}


def _warn_of_other_code(checkpointers: list[Checkpointer], code: str) -> None:
    """Says that a job goes on with other code than it began with: weights of equal shapes would not tell."""
    if any(checkpointer.job.get("code", code) != code for checkpointer in checkpointers):
        warnings.warn(
            "the code of the network's classes has changed since the checkpoint was written; what was trained goes on "
            "in the new code.",
            stacklevel=4,
        )


def _warn_of_unlike_layers(space: Space, plans: list[Plan]) -> None:
    """Says that layers were asked to be equally wide where no two are alike."""
    rules = [widths_of(plan, space) for plan in plans if plan.asked.widths.uniform_layers]
    alone = [replace(rule, uniform_layers=False) for rule in rules]
    if rules and all(Ranking(space, a).chunks == Ranking(space, b).chunks for a, b in zip(rules, alone, strict=True)):
        warnings.warn(
            "no two layers of this network are of one width with names that differ in numbers only: --uniform-layers "
            "changes nothing.",
            stacklevel=4,
        )


def _check_removable(space: Space, *, chosen_by_name: bool) -> None:
    """Refuses a network with nothing to remove."""
    if not space.num_gates:
        remedy = "; include more or exclude less" if chosen_by_name else ""
        reasons = commonest_reasons(space) or "it has no parameters"
        raise UserError(
            f"nothing in this network can be removed: {reasons}{remedy} (Space.fixed or `dnal space` tell the rest)."
        )


def _check_trained(network: nn.Module, plan: Plan) -> None:
    """Refuses a network that cannot learn, if it is to be trained at all."""
    if any(phase.epochs for phase in plan.phases) and not any(p.requires_grad for p in network.parameters()):
        raise UserError("no parameter of this network has requires_grad; set it for those that may be trained.")


def _example(held_out: Inputs, reading: Reading | None, given: Inputs | None) -> Inputs:
    """The user's example, or two of the first inputs held out: taking them from the training data would use up their
    first order."""
    if given is not None:
        return given
    inputs = held_out if reading is None else reading.deployed(held_out)
    size = batch_size(inputs)
    return at_batch(inputs, min(2, size)) if is_of_examples(inputs, size) else inputs


def _known(checkpointer: Checkpointer) -> LatencyModel | None:
    from dnal.latency import LatencyModel

    document = checkpointer.carried("latency")
    return None if document is None else LatencyModel.of(document)
