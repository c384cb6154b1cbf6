"""The method `dnal` with one thing changed, for recipe_ideas.py: each idea is a method, `idea_methods:NAME`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dnal.base.options import option
from dnal.changes.removal import Removal
from dnal.gates.gated import Gated
from dnal.methods.dnal.method import DNAL
from dnal.methods.dnal.search import START, BudgetSearch
from dnal.methods.magnitude import l1_scores
from dnal.methods.task import Task
from dnal.pipeline.plan import ARCHITECTURE_RATE
from dnal.settings import DEFAULT_LR
from dnal.space.space import Space


class PooledAdam(torch.optim.Adam):
    """Adam whose second moment is shared by all that have one number in ``pools``, and whose steps are ``pace`` times
    as long; both of the size of the parameter."""

    def __init__(self, parameters: list[torch.nn.Parameter], pools: Tensor, pace: Tensor, lr: float) -> None:
        super().__init__(parameters, lr=lr, betas=(0.9, 0.99))
        self.pools, self.pace = pools, pace
        self.sizes = torch.bincount(pools)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            (s,) = group["params"]
            state = self.state[s]
            if not state:
                state |= {"step": 0, "exp_avg": torch.zeros_like(s), "exp_avg_sq": torch.zeros_like(s)}
            state["step"] += 1
            first, second = group["betas"]
            square = torch.zeros(len(self.sizes)).index_add_(0, self.pools, s.grad.square()) / self.sizes
            state["exp_avg"].mul_(first).add_(s.grad, alpha=1 - first)
            # the search takes its preconditioner from here, so the pace is part of the second moment
            state["exp_avg_sq"].mul_(second).add_(square[self.pools] / self.pace.square(), alpha=1 - second)
            scale = (state["exp_avg_sq"] / (1 - second ** state["step"])).sqrt() + 1e-12
            s.sub_(group["lr"] * state["exp_avg"] / (1 - first ** state["step"]) / scale)


class KeepingBranches(BudgetSearch):
    """The search that never closes a residual branch as a whole."""

    @torch.no_grad()
    def _project(self) -> None:
        branches = [branch.variable for branch in self.space.branches]
        self.gated.s[branches] = START  # first of all, so that they lead the ranking
        super()._project()
        self.gated.s[branches] = START


@dataclass(frozen=True)
class Changed(DNAL):
    """The method with another optimizer of s, or with branches that stay."""

    branches: bool = option(True, "Whether residual branches may close.")

    def search(self, gated: Gated, task: Task, steps: int) -> BudgetSearch:
        kind = BudgetSearch if self.branches else KeepingBranches
        search = kind(gated, task.space, task.limits, steps, widths=task.widths, wait=self.wait, met=self.met)
        search.optimizer = self.optimizer(search)
        return search

    def optimizer(self, search: BudgetSearch) -> torch.optim.Adam:
        """What moves s."""
        return search.optimizer


@dataclass(frozen=True)
class Pooled(Changed):
    """One second moment for each group of channels, or one for all."""

    by_group: bool = option(True, "Whether every group has its own.")

    def optimizer(self, search: BudgetSearch) -> torch.optim.Adam:
        space = search.space
        pools = torch.zeros(space.num_gates, dtype=torch.long)
        if self.by_group:
            for number, group in enumerate(space.groups):
                pools[group.variables] = number
            pools[[branch.variable for branch in space.branches]] = len(space.groups)
        return PooledAdam([search.gated.s], pools, torch.ones(len(pools)), search.lr)


@dataclass(frozen=True)
class SlowBranches(Changed):
    """A branch's s moves by 1 / sqrt(n) of the step of a channel's, n being the channels in it.

    The gradient of a branch sums those of its channels, and Adam divides by its spread, which grows with sqrt(n) where
    they are independent: a mean that leans one way moves the branch sqrt(n) times as surely as any of its channels.
    """

    def optimizer(self, search: BudgetSearch) -> torch.optim.Adam:
        pace = pace_of_branches(search.space)
        return PooledAdam([search.gated.s], torch.arange(len(pace)), pace, search.lr)


def pace_of_branches(space: Space) -> Tensor:
    """1 / sqrt(channels) for each branch, 1 for each channel; shape (num_gates,)."""
    pace = torch.ones(space.num_gates)
    for branch in space.branches:
        gates = torch.ones(space.num_gates)
        gates[branch.variable] = 0.0
        gates.requires_grad_()
        (slope,) = torch.autograd.grad(space.costs["macs"](gates), gates)
        inside = int((slope[: space.num_variables] == 0).sum())
        pace[branch.variable] = max(inside, 1) ** -0.5
    return pace


@dataclass(frozen=True)
class Leaning(DNAL):
    """s starts lower where the L1 norm is small: from 1 - ``share``, at half the mean of the group or less, to 1, at
    one and a half times the mean or more."""

    share: float = option(0.3, "How far down.", least=0, most=1)

    def search(self, gated: Gated, task: Task, steps: int) -> BudgetSearch:
        norms = l1_scores(gated.network, task.space).sub(0.5).clamp(0, 1).to(gated.s)
        with torch.no_grad():
            gated.s.copy_(START * (1 - self.share * (1 - norms)))
        return super().search(gated, task, steps)


@dataclass(frozen=True)
class OtherRate(DNAL):
    """Another learning rate of the weights in the search."""

    rate: float = option(ARCHITECTURE_RATE, "As a share of the base's peak.", above=0)

    def choose(self, task: Task) -> Removal:
        return super().choose(replace(task, phase=replace(task.phase, lr=self.rate * DEFAULT_LR)))
