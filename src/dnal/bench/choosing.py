"""What a method makes of a base: the network that is left, and its shape as plain values and tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from dnal.architecture.architecture import Architecture
from dnal.architecture.compact import compact
from dnal.base.errors import UserError
from dnal.bench import baselines
from dnal.bench.base import Trained
from dnal.bench.ground import Ground, unmeasured
from dnal.bench.jobs import Impossible, part_of
from dnal.bench.suite import BASELINES, Entry, Suite
from dnal.changes import Removal
from dnal.methods import METHODS
from dnal.methods.paper import Paper, ranked
from dnal.methods.task import Task
from dnal.pipeline.plan import ARCHITECTURE_RATE, SEARCH, acting
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.techniques import TECHNIQUES
from dnal.techniques.repair import Repair
from dnal.train.listener import Listener
from dnal.train.phase import WHOLE, Context, Phase
from dnal.train.resume.checkpointer import Checkpointer
from dnal.train.technique import Technique

Shapes = dict[str, Any]
"""What :func:`again` needs to make a network of the same shape."""


def trains(entry: Entry) -> bool:
    """Whether an entry uses the epochs of choosing; otherwise they lengthen its retraining."""
    return baselines.trains(entry.method) if entry.method in BASELINES else METHODS.read(entry.method).trains


def choose(
    ground: Ground,
    base: Trained,
    entry: Entry,
    *,
    share: float,
    taught: bool,
    lambda_: float | None,
    epochs: int,
    listener: Listener,
    checkpointer: Checkpointer,
) -> tuple[nn.Module, Shapes]:
    """What an entry leaves of the base, or of the untrained network, within ``share`` percent of the MACs; both stay as
    they are.

    Args:
        taught: whether the base teaches meanwhile. lambda_: of the method ``paper``. epochs: of choosing.

    Raises:
        Impossible: the method cannot work with this network, or not within this share.
    """
    network = copy.deepcopy(ground.start if entry.without_base else base.network)
    method = None if entry.method in BASELINES else METHODS.read(entry.method)
    branches = method is None or method.prunes_blocks
    space, limits = ground.space_with(branches=branches), ground.limits(share)
    widths = WidthRule()

    def selected(scores: Tensor, tighter: Mapping[str, float] | None = None) -> Tensor:
        return select(space, scores, {**limits, **(tighter or {})}, widths)

    task = Task(
        network=network, space=space, budget=f"macs<={share:g}%", limits=limits, widths=widths, select=selected,
        val=ground.held_out, phase=_phase(ground, entry, epochs, taught),
        context=Context(
            ground.fabric, ground.loaders.train, ground.loss, base.network, listener, checkpointer.history,
            checkpointer,
        ),
        seed=ground.seed, validate=unmeasured,
    )  # fmt: skip
    if method is None:
        small, history = baselines.choose(entry.method, task, ground.example)
        return small, {"history": history}
    try:
        method.check(network, space)
        # As published it has no budget: the ranking of its s is cut, or filled, to the share.
        chosen = task.removal(ranked(task, lambda_ or 0.0)) if isinstance(method, Paper) else method.choose(task)
    except UserError as error:
        raise Impossible(str(error)) from None
    assert isinstance(chosen, Removal)
    if entry.repaired:
        Repair().before_removal(network, space, chosen.architecture.open, ground.loaders.train, ground.fabric)
    return chosen.apply(network), {"open": chosen.architecture.open, "branches": branches}


def _phase(ground: Ground, entry: Entry, epochs: int, taught: bool) -> Phase:
    part = part_of(ground.network, entry, 1, (0, epochs, 0))
    rate = ARCHITECTURE_RATE * ground.rate if part == WHOLE else ground.rate
    return Phase(SEARCH, epochs, rate, techniques=teaching(ground.suite, taught, SEARCH), part=part)


def teaching(suite: Suite, taught: bool, phase: str) -> tuple[Technique, ...]:
    """What all entries are given alike in a phase, by its name in a job."""
    return acting((TECHNIQUES.read(suite.teacher),), phase) if taught else ()


def again(ground: Ground, shapes: Shapes) -> nn.Module:
    """A network of the shape that was chosen, with any weights."""
    if "history" in shapes:
        return baselines.again(copy.deepcopy(ground.start), shapes["history"], ground.example)
    space = ground.space_with(branches=shapes["branches"])
    return compact(copy.deepcopy(ground.start), Architecture.of(space, shapes["open"]))
