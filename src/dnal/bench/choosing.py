"""What a method makes of a base: the network that is left, and its shape as plain values and tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dnal.architecture import Architecture
from dnal.bench import peers
from dnal.bench.base import Trained
from dnal.bench.ground import Ground, unmeasured
from dnal.bench.suite import PEERS, Entry
from dnal.compaction import compact
from dnal.methods import method_of
from dnal.methods.dnal import ranked_by_paper
from dnal.methods.selection import select
from dnal.methods.task import Task
from dnal.methods.widths import Widths
from dnal.plan import ARCHITECTURE_RATE, DEFAULT_LR
from dnal.train.keeper import Keeper
from dnal.train.listener import Listener

Shapes = dict[str, Any]
"""What :func:`again` needs to make a network of the same shape."""


def trains(entry: Entry) -> bool:
    """Whether an entry uses the epochs of choosing; otherwise they lengthen its retraining."""
    return peers.trains(entry.method) if entry.method in PEERS else method_of(entry.method).trains


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
    keeper: Keeper,
) -> tuple[nn.Module, Shapes]:
    """What an entry leaves of the base, or of the untrained network, within ``share`` percent of the MACs; both stay as
    they are.

    Args:
        taught: whether the base teaches meanwhile. lambda_: of the paper's recipe. epochs: of choosing.
    """
    network = copy.deepcopy(ground.start if entry.without_base else base.network)
    space, limits = ground.space_of(entry.recipe), ground.limits(share)
    widths = Widths()

    def selected(scores: Tensor, tighter: Mapping[str, float] | None = None) -> Tensor:
        return select(space, scores, {**limits, **(tighter or {})}, widths)

    task = Task(
        fabric=ground.fabric, network=network, space=space, budget=f"macs<={share:g}%", limits=limits, widths=widths,
        select=selected, train=ground.loaders.train, val=ground.held_out, loss=F.cross_entropy, epochs=epochs,
        lr=ARCHITECTURE_RATE * DEFAULT_LR, seed=ground.seed, recipe=entry.recipe, lambda_=lambda_ or 0.0,
        steps="joint", teacher=base.network if taught else None, validate=unmeasured, listener=listener,
        history=keeper.history, keeper=keeper,
    )  # fmt: skip
    if entry.method in PEERS:
        small, history = peers.choose(entry.method, task, ground.example)
        return small, {"history": history}
    # As published it has no budget: the ranking of its s is cut, or filled, to the share.
    open_ = selected(ranked_by_paper(task)) if entry.recipe == "paper" else method_of(entry.method).choose(task)
    return compact(network, Architecture.of(space, open_)), {"open": open_.cpu(), "recipe": entry.recipe}


def again(ground: Ground, shapes: Shapes) -> nn.Module:
    """A network of the shape that was chosen, with any weights."""
    if "history" in shapes:
        return peers.again(copy.deepcopy(ground.start), shapes["history"], ground.example)
    space = ground.space_of(shapes["recipe"])
    return compact(copy.deepcopy(ground.start), Architecture.of(space, shapes["open"]))
