"""Optimal Brain Surgeon for channels: remove what can be rebuilt, and rebuild it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.methods.magnitude import l1_scores
from dnal.methods.method import Method
from dnal.methods.task import Task
from dnal.repair.absence import Absence, absences
from dnal.repair.curves import RIDGE, curves_of
from dnal.repair.order import leaving
from dnal.repair.rebuild import rebuild_all
from dnal.repair.statistics import GRADED, SAMPLES, Ahead, measured
from dnal.space.space import Space
from dnal.train.setup.processes import agree


@dataclass(frozen=True)
class OBS(Method):
    """Removes the channels that others can best stand in for, and rebuilds the layers that read them.

    Of some training examples it measures what each layer reads, and of some validation examples how much the loss minds
    an error of what it makes: of those that the base knows by heart it minds hardly anything. Of that follow, for every
    group of channels, the order in which they leave and what each width costs after the best rebuilding (Optimal Brain
    Surgeon). The channel leaves that loses least for what it saves, until the budget holds; the readers then take over,
    by least squares, what it said. Trains nothing; costs a forward pass of the samples and a backward pass of some.
    Branches stay by default; where they may go, each leaves by what its absence loses for what it saves, which costs
    two forward passes more for each. Where nothing reads a group with weights of its own, its channels leave last, by
    magnitude. Sources: Hassibi and Stork, 1993; He et al., arXiv 1707.06168; Frantar and Alistarh, arXiv 2208.11580.
    """

    prunes_blocks: ClassVar[bool] = False

    samples: int = option(SAMPLES, "Of the training data, on which it is measured what layers read.", least=1)
    ridge: float = option(RIDGE, "Share of the mean variance of what a layer reads, added to each channel's.", above=0)
    repair: bool = option(True, "Whether the layers that read are rebuilt.")
    held_out: bool = option(True, "Whether the gradients are those of validation data, instead of the training data.")

    def choose(self, task: Task) -> Removal:
        return Removal.among(task.space, kept_by_curves(task, self, task.limits, branches=True))


def kept_by_curves(task: Task, how: OBS, limits: Mapping[str, float], *, branches: bool = False) -> Tensor:
    """The variables that stay within the limits, bool (num_gates,); the network of the task has been rebuilt, so that
    nothing in it reads the others.

    The loader's position and everything random are as they were.

    Args:
        branches: whether those of the Space leave by their absences, and channels of which no curve tells by magnitude;
            otherwise both stay, whatever the limits.
    """
    network, space, around = task.network, task.space, task.context
    examples = Ahead(around.loader, how.samples)
    graded = Ahead(task.val if how.held_out else around.loader, GRADED)
    statistics = measured(network, space, examples, around.loss, graded)
    lost = absences(network, space, examples, around.loss, graded=graded, ridge=how.ridge) if branches else []
    _tell_of_the_others(space, lost, asked=branches)
    turn = leaving(space, curves_of(network, space, statistics, how.ridge), limits, lost)
    turn = around.fabric.broadcast(turn)
    stays: Tensor = task.select(curve_scores(network, space, turn), limits)
    if not branches:
        stays = stays | turn.isinf()
    if how.repair:
        rebuild_all(network, space, stays, examples, how.ridge, statistics)
        agree(around.fabric, [network], weights=True)
    return stays


def _tell_of_the_others(space: Space, lost: Sequence[Absence], *, asked: bool) -> None:
    """Says which branches stay because nothing tells what their absence costs."""
    told = {one.branch.variable for one in lost}
    others = [branch.name for branch in space.branches if branch.variable not in told]
    if asked and others:
        warnings.warn(
            f"the method 'obs' cannot tell what the network loses without {len(others)} of its "
            f"{len(space.branches)} branches, '{others[0]}' first: they stay as long as there is something else to "
            "remove.",
            stacklevel=4,
        )


def curve_scores(network: nn.Module, space: Space, turn: Tensor) -> Tensor:
    """The turns at which variables leave as scores, (num_gates,): those of which nothing tells stay longer, in
    the order of their magnitudes, branches longest."""
    known = turn.isfinite()
    last = turn[known].max() + 1 if bool(known.any()) else 0.0
    return torch.where(known, turn, last + l1_scores(network, space))
