"""Growing in rounds: new neurons, training, new neurons, until the budget is used up."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim import Optimizer

from dnal.base.errors import UserError
from dnal.changes.growth import Growth
from dnal.methods.growing.grown import Grown, grown_to
from dnal.methods.growing.one_growth import grow, nothing_grows
from dnal.methods.growing.sites import Site, growable, named
from dnal.methods.method import Method, spend_in_rounds
from dnal.methods.task import Task
from dnal.repair.statistics import Ahead
from dnal.settings import Growths
from dnal.space.space import Space
from dnal.space.surgery.inputs import batch_size
from dnal.train.batch import split
from dnal.train.phase import run_phase
from dnal.train.resume.checkpointer import Stateful
from dnal.train.resume.data_position import DataPosition
from dnal.train.technique import Technique

ROUND = 10
"""Epochs of the base and of each round by default."""
USED = 0.99
"""A round has grown enough where so much of what it may cost is used."""


@dataclass(frozen=True)
class Grower(Method, Growths):
    """Makes a network wider by new neurons, in rounds, with training in between. A subclass says which neurons.

    Each of the ``rounds`` grows the network by the same factor, to a cost that is the budget after the last. The last
    round's training is that of the phase "retrain", those before make the phase "architecture".
    """

    trains: ClassVar[bool] = True
    prunes_blocks: ClassVar[bool] = False
    retrains: ClassVar[bool] = True
    grows: ClassVar[bool] = True
    default_budget: ClassVar[str] = "params<=400%"
    stages: ClassVar[int] = 2
    epochs: ClassVar[tuple[int, int, int]] = (ROUND, 2 * ROUND, ROUND)
    techniques: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        spend_in_rounds(self, self.rounds, ROUND)

    def check(self, network: nn.Module, space: Space) -> None:
        sites, why = growable(network, space)
        if not sites:
            raise UserError(nothing_grows(why))
        if why:
            first = next(iter(why))
            warnings.warn(
                f"{len(why)} of {len(space.groups)} groups of channels cannot grow and stay as they are: "
                f"{named(list(why))} ({why[first]}).",
                stacklevel=2,
            )

    def choose(self, task: Task) -> Growth:
        context, kept_state = task.context, task.context.checkpointer
        sites, _ = growable(task.network, task.space)
        grown, stage, number = Grown.of(task.network, task.space), kept_state.stage, 0
        optimizer: Optimizer | None = None
        if stage is not None:
            with kept_state.believed():
                number, grown = int(stage["round"]), grown.outlined(stage["copies"])
                optimizer = task.phase.optimizer(grown.network, task.phase.lr)
                optimizer.load_state_dict(stage["optimizer"])
                told = dict(stage["told"])
            self._train(task, number, grown, optimizer, told)
        else:
            _check_room(task, grown, sites)
            if self.trains:  # no loop has put back yet what was kept of the phase's start
                kept_state.resume(task.phase.name, {"place": DataPosition(context.loader)}, context.history)
        while True:
            number += 1
            wider, told = self._grown(task, grown, number, sites)
            if number >= self.rounds:
                if torch.equal(wider.copies, torch.ones_like(wider.copies)):
                    raise _no_room(task)
                return wider.change()
            following = task.phase.optimizer(wider.network, task.phase.lr)
            if optimizer is not None:
                grown.carry(optimizer, wider, following)
            grown, optimizer = wider, following
            stage = {"round": number, "copies": grown.copies, "optimizer": optimizer.state_dict(), "told": told}
            parts: dict[str, Stateful] = {"network": grown.network, "place": DataPosition(context.loader)}
            kept_state.begin_stage(stage, parts, context.history)
            self._train(task, number, grown, optimizer, told)

    def _train(self, task: Task, number: int, grown: Grown, optimizer: Optimizer, told: Mapping[str, float]) -> None:
        """The training of a round before the last, or what is left of it."""
        phase = task.phase.share(number, self.rounds - 1)
        run_phase(
            phase, grown.network, task.context, hooks=[Told(told)], optimizer=optimizer, validate=task.validate
        )  # fmt: skip

    def _grown(self, task: Task, grown: Grown, number: int, sites: list[Site]) -> tuple[Grown, dict[str, float]]:
        """The network of the next round, and what its epochs tell of it."""
        before, fabric = Grown.of(grown.origin, grown.space).cost(), task.context.fabric
        limits = {
            name: before[name] * (limit / before[name]) ** (number / self.rounds) if number < self.rounds else limit
            for name, limit in task.limits.items()
        }
        batches = list(Ahead(task.context.loader, self.samples + self.samples // 2))
        split_at = _part(batches)
        first, second = batches[:split_at], batches[split_at:] or batches
        psi: float | None = None
        while max(grown.cost()[name] / limit for name, limit in limits.items()) < USED:
            seed = task.seed * 1_000_003 + 1009 * number + int(grown.copies.sum())
            found = grow(
                grown, first, task.context.loss, limits, method=self.kind, search=second, seed=seed % 2**63, sites=sites
            )
            psi = sum(found.psi.values()) if psi is None else psi
            if not found.added:
                break
            grown = found.grown
        if fabric.world_size > 1:  # each has seen its own examples
            copies, state = fabric.broadcast((grown.copies, grown.network.state_dict()))
            grown = grown_to(grown.origin, grown.space, state, copies)
        return grown, {**grown.cost(), "bottleneck": psi or 0.0}


@dataclass(frozen=True)
class TINY(Grower):
    """Makes layers wider by the neurons that the loss misses most, in rounds, until the budget is used up.

    What a layer's own weights cannot follow of the functional gradient is its expressivity bottleneck; the neurons that
    lower it most have a closed form: with S the second moment of what the layer below reads and N its product with what
    is missing, S^-1/2 N = U diag(s) V^T. They come where s^2 per cost is largest, their amplitude is searched on the
    true loss on other examples, and the network is trained before the next round. The budget is above the network's own
    cost, such as "params<=400%", and is used up as far as the widths allow. Batch norm passes new channels as they are
    at first. Source: Verbockhaven et al., arXiv 2405.19816.
    """

    kind: ClassVar[str] = "tiny"


@dataclass(frozen=True)
class GradMax(Grower):
    """Makes layers wider by neurons that compute nothing at first and get the largest gradient, in rounds.

    What reads a new neuron are singular vectors of the gradient's product with what the layer below reads, as long as
    the weights with which other channels are read; what it reads is weighted by 0. Rounds and places as of `tiny`, by
    the squares of these singular values per cost. Source: Evci et al., arXiv 2201.05125.
    """

    kind: ClassVar[str] = "gradmax"


@dataclass(frozen=True)
class RandomNeurons(Grower):
    """Makes layers wider by random neurons, as many and in the same places as `tiny` would, in rounds: the control.

    The amplitude is searched as for `tiny`. What is ahead of it by no more than noise owes what it reaches to the
    widths, and not to which neurons came.
    """

    kind: ClassVar[str] = "random-neurons"


class Told(Technique):
    """What the records of epochs tell of a network while it grows."""

    def __init__(self, told: Mapping[str, float]) -> None:
        self._told = dict(told)

    def record(self) -> dict[str, Any]:
        return dict(self._told)


def _part(batches: list[Any]) -> int:
    """The number of batches that have the first two thirds of all examples."""
    sizes = [batch_size(split(batch)[0]) for batch in batches]
    done = 0
    for number, size in enumerate(sizes):
        done += size
        if 3 * done >= 2 * sum(sizes):
            return number + 1
    return len(batches)


def _check_room(task: Task, grown: Grown, sites: list[Site]) -> None:
    """Refuses, before a round is trained, a budget that has no room for a channel more anywhere.

    Raises:
        UserError: it has none.
    """
    for site in sites:
        wider = grown.copies.clone()
        wider[site.variables[0]] += 1
        cost = grown.cost(wider)
        if all(cost[name] <= limit for name, limit in task.limits.items()):
            return
    raise _no_room(task)


def _no_room(task: Task) -> UserError:
    return UserError(f"the budget {task.budget} leaves no room for a single channel more; raise it.")
