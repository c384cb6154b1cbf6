"""DNAL under a budget (the method ``dnal``): architecture parameters by projected gradient descent.

Every variable v has an architecture parameter s_v and the scaled sigmoid gate of arXiv 2103.02126,
g_v = sigmoid(delta s_v); in the forward pass the gate is rounded to 0/1 and its gradient passes straight through. So
there is no gap between soft and hard network, and shrinking all gates together (which batch norm would undo) buys
nothing. One step:

1. the task's gradient t with respect to s, plus, for every bound that binds at the moment, a multiplier lambda_k >= 0
   times the gradient c_k of its cost. The multipliers minimise ||t + sum_k lambda_k c_k||^2 in the metric of the
   optimizer's preconditioner P: the step raises no binding cost (gradient projection, Rosen 1960). They need no tuning;
   for one bound, lambda = max(0, -<c, P t> / <c, P c>);
2. Adam on s;
3. all s are shifted by one number, so that the set {s > 0} is the largest of the ranking (``dnal.selection.ranking``)
   that fits the budget of this moment, and clamped to [-1, 1], so that a closed channel can come back.

The budget of the moment starts at the whole network and tightens geometrically; delta grows, most of it late.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler

from dnal.base.errors import UserError
from dnal.gates.functions import hard_gates
from dnal.gates.gated import Gated
from dnal.selection.opening import Opening, longest
from dnal.selection.ranking import Order, Ranking
from dnal.selection.select import ENOUGH, check_limits, filled, fits, least_costs, unreachable
from dnal.selection.widths import WidthRule
from dnal.space.space import Space
from dnal.train.scaling import overflowed

START = 1.0
"""s of an open gate at the start; also the bound of |s|."""
WAIT, MET = 0.1, 0.7
"""Shares of the phase: until the first, every gate stays open and s only learns; at the second, the budget is met."""
BINDING = 0.95
"""A cost binds that uses this share of what the tightest one uses of its limit; the others have no multiplier."""
LAST = -2 * START
"""s of a gate that stays closed: below all others."""
MARGIN = 5e-3
"""The least |s| after a projection: decided at the last delta."""


def limits_at(
    progress: float, full: Mapping[str, float], limits: Mapping[str, float], wait: float = WAIT, met: float = MET
) -> dict[str, float]:
    """The budget of the moment: from the base's costs geometrically to the limits; ``progress`` from 0 to 1."""
    share = min(max((progress - wait) / (met - wait), 0.0), 1.0)
    return {name: full[name] ** (1 - share) * limit**share for name, limit in limits.items()}


def delta_at(progress: float, met: float = MET) -> float:
    """The scale of the sigmoid: 2 until the budget is met, then growing geometrically to 1,000."""
    late = min(max((progress - met) / (1 - met), 0.0), 1.0)
    return float(2.0 * 500.0**late)


def neutral_multipliers(task: Tensor, costs: Tensor, preconditioner: Tensor) -> Tensor:
    """The lambda >= 0 of shape (K,) that minimise ||task + sum_k lambda_k costs_k|| in the metric of P: the step
    -P (task + sum_k lambda_k costs_k) raises no cost to first order, and leaves unchanged those with lambda_k > 0.

    Args:
        task: (num_gates,). costs: one gradient a row, (K, num_gates). preconditioner: the diagonal of P, (num_gates,).

    Tries every set of costs, so K is meant to be small.
    """
    costs = costs.double()
    weighted = costs * preconditioner.double()
    gram, wanted = weighted @ costs.T, -(weighted @ task.double())
    best, least = torch.zeros_like(wanted), 0.0
    for size in range(1, wanted.numel() + 1):
        for chosen in combinations(range(wanted.numel()), size):
            those = list(chosen)
            found = torch.zeros_like(wanted)
            found[those] = torch.linalg.pinv(gram[those][:, those], hermitian=True) @ wanted[those]
            value = float(found @ gram @ found / 2 - wanted @ found)
            if bool((found >= 0).all()) and value < least:
                best, least = found, value
    return best


def _check(gated: Gated, space: Space, limits: Mapping[str, float], widths: WidthRule | None) -> None:
    """See the errors of :class:`BudgetSearch`."""
    if gated.s.shape != (space.num_gates,):
        raise UserError(
            f"the gated network has {gated.s.numel()} gates, the space {space.num_gates} variables; make both of one "
            "space: dnal.Gated(network, space)."
        )
    check_limits(space, limits)
    if not limits:
        raise UserError(f"a search under a budget needs a limit on one cost or more, of {', '.join(space.costs)}.")
    least = least_costs(space, widths)
    for name, limit in limits.items():
        if least[name] > limit:
            raise unreachable(name, limit, least[name])


class BudgetSearch:
    """The state of the search: an Adam on s and a multiplier per cost (``multipliers``). For any training loop::

        gated = Gated(network, space, start=START)
        search = BudgetSearch(gated, space, limits, steps)
        for inputs, targets in batches:                 # ``steps`` of them
            loss(gated(inputs), targets).backward()     # one backward for weights and s
            weight_optimizer.step()
            search.step()
            gated.zero_grad()

    With a gradient scaler of torch, the step of s stands between that of the weights and ``scaler.update()``::

            scaler.scale(loss(gated(inputs), targets)).backward()
            scaler.step(weight_optimizer)
            search.step(scaler)
            scaler.update()
            gated.zero_grad()

    The channels that a gated network keeps closed stay so, and the budget of the moment begins at what is open.

    Args:
        limits: cost name -> bound in its own unit. steps: length of the search.
        lr: of s; by default 20 / steps, so that a gate can cross its range many times.
        widths: the widths that {s > 0} may have; by default every one.
        wait, met: shares of the search: until the first, every gate stays open and s only learns; at the second, the
            budget is met.

    Raises:
        UserError: gates of another space; limits that are none, or that no architecture keeps.
    """

    def __init__(
        self,
        gated: Gated,
        space: Space,
        limits: Mapping[str, float],
        steps: int,
        lr: float | None = None,
        widths: WidthRule | None = None,
        wait: float = WAIT,
        met: float = MET,
    ) -> None:
        _check(gated, space, limits, widths)
        if not 0 <= wait < met < 1:
            raise UserError(f"the gates wait before the budget is met: 0 <= wait < met < 1, not {wait:g} and {met:g}.")
        self._wait, self._met = wait, met
        self.gated, self.space, self.limits, self.steps = gated, space, dict(limits), max(steps, 1)
        self.lr = lr if lr is not None else min(max(20.0 / self.steps, 1e-3), 0.1)
        self.optimizer = torch.optim.Adam([gated.s], lr=self.lr, betas=(0.9, 0.99))
        self.multipliers = dict.fromkeys(self.limits, 0.0)
        self.done = 0
        self._full = self._open_cost()
        self._ranking = Ranking(space, widths)
        self._count = self._ranking.chunks
        self._every = max(1, min(10, self.steps // 100))  # a shift costs a binary search of cost evaluations
        gated.hard = True
        gated.delta = delta_at(0.0, met)
        self._project()

    def step(self, scaler: GradScaler | None = None) -> bool:
        """After the task's backward pass: one step of s, whose gradient is consumed.

        Args:
            scaler: what the loss was scaled by. Where its step of the weights overflowed, or this one would, nothing
                moves: not s, no multiplier, and not the budget of the moment.

        Returns:
            whether it was a step.
        """
        s = self.gated.s
        if s.grad is None:
            raise RuntimeError("run the gated network and its backward pass before the step of s")
        if scaler is not None and scaler.is_enabled() and overflowed(scaler, self.optimizer):
            s.grad = None
            return False
        on_host = self._on_host(s, s.grad)
        if not bool(torch.isfinite(on_host[1]).all()):
            warnings.warn(
                "the gradient of s is not finite, and this step of the search was left out; with a gradient scaler "
                "say search.step(scaler), between scaler.step(weight_optimizer) and scaler.update().",
                stacklevel=2,
            )
            s.grad = None
            return False
        s.grad.add_(self._cost_gradient(*on_host).to(s.device))
        late = max(0.0, (self.progress - self._met) / (1 - self._met))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * (1 - 0.9 * late)
        self.optimizer.step()
        s.grad = None
        self.done += 1
        self.gated.delta = delta_at(self.progress, self._met)
        if self.done % self._every == 0 or self.done == self.steps:
            self._project()
        return True

    def state_dict(self) -> dict[str, Any]:
        """What :meth:`step` changes beside the gated network, for a checkpoint."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "multipliers": dict(self.multipliers),
            "done": self.done,
            "count": self._count,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where ``state`` was taken; the gated network's own state is loaded besides."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.multipliers, self.done, self._count = dict(state["multipliers"]), state["done"], state["count"]
        self.gated.delta = delta_at(self.progress, self._met)
        self._full = self._open_cost()

    @property
    def progress(self) -> float:
        return min(self.done / self.steps, 1.0)

    def limits_now(self) -> dict[str, float]:
        """The budget of the moment."""
        return limits_at(self.progress, self._full, self.limits, self._wait, self._met)

    def record(self) -> dict[str, Any]:
        """Multipliers and limits of the moment, for a log."""
        multipliers = {f"multiplier_{name}": value for name, value in self.multipliers.items()}
        return {**multipliers, **{f"limit_{name}": value for name, value in self.limits_now().items()}}

    # Thousands of numbers and many questions about them: what follows is done on the CPU, wherever the network is.

    def _open_cost(self) -> dict[str, float]:
        """What the network costs with all gates open that may be."""
        closed = self.gated.closed
        return self.space.full_cost if closed is None else self.space.cost_of(~closed.cpu())

    def _on_host(self, s: Tensor, task: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """s, the task's gradient and Adam's second moment in one transfer: each of their own would wait for the
        device."""
        second = self.optimizer.state.get(s, {}).get("exp_avg_sq")
        held = torch.stack([s.detach(), task] if second is None else [s.detach(), task, second]).cpu()
        return held[0], held[1], None if second is None else held[2]

    def _cost_gradient(self, s: Tensor, task: Tensor, second: Tensor | None) -> Tensor:
        """What is added to the task's gradient; ``second``: Adam's second moment, all of shape (num_gates,)."""
        s.requires_grad_()
        now = self.limits_now()
        with torch.enable_grad():
            gates = hard_gates(s, self.gated.delta)
            if self.gated.closed is not None:
                gates = gates * ~self.gated.closed.cpu()
            costs = {name: self.space.costs[name](gates) for name in self.limits}
            used = {name: float(cost.detach()) / now[name] for name, cost in costs.items()}
            binding = [name for name in costs if used[name] >= BINDING * max(used.values())]
            slopes = torch.stack(
                [torch.autograd.grad(costs[name] / self.limits[name], s, retain_graph=True)[0] for name in binding]
            )
        preconditioner = torch.ones_like(s) if second is None else 1 / (second.sqrt() + 1e-12)
        neutral = dict(zip(binding, neutral_multipliers(task, slopes, preconditioner).tolist(), strict=True))
        for name, before in self.multipliers.items():
            self.multipliers[name] = 0.9 * before + 0.1 * neutral[name] if name in neutral else 0.0
        weighted = [self.multipliers[name] * slope for name, slope in zip(binding, slopes, strict=True)]
        return torch.stack(weighted).sum(0).to(task.dtype)

    @torch.no_grad()
    def _project(self) -> None:
        s, closed = self.gated.s.detach().cpu(), self.gated.closed
        now = self.limits_now()
        if closed is not None:
            s = torch.where(closed.cpu(), -torch.inf, s)
        order = self._ranking.order(s)
        inside = self._inside(order, now, closed)
        outside = ~inside if closed is None else ~inside & ~closed.cpu()
        if closed is not None:
            inside &= ~closed.cpu()
            s = torch.where(closed.cpu(), START, s)
        if not bool(outside.any()):
            s.add_((MARGIN - s.min()).clamp(min=0))
        else:
            first = int(order.place[outside].min())
            edge = s[order.place == first].mean()
            if first > self._ranking.must:
                edge = (edge + s[order.place == first - 1].mean()) / 2
            s.sub_(edge)
        s.clamp_(-START, START)
        # what stays although it is wanted less, or is in a chunk with what is wanted more, and the other way round
        s = torch.where(inside, s.clamp(min=MARGIN), s.clamp(max=-MARGIN))
        self.gated.s.copy_(s if closed is None else torch.where(closed.cpu(), LAST, s))

    def _inside(self, order: Order, limits: Mapping[str, float], closed: Tensor | None) -> Tensor:
        coarse = self._ranking.coarse
        if not coarse:
            self._count = longest(
                self._ranking.must,
                self._ranking.chunks,
                lambda count: fits(self.space.costs, limits, order.place < count),
                near=self._count,
            )
            inside = order.place < self._count
            if not self.space.branches or self._used(inside, limits) >= ENOUGH:
                return inside
        # The longest prefix alone may leave much of the budget.
        may = torch.ones_like(order.group_at, dtype=torch.bool)
        if closed is not None:
            may[order.place[closed.cpu()]] = False
        opening = Opening(order, self.space.costs, limits)
        return opening.gates(filled(opening, self._ranking.must, widths=False, may=may))

    def _used(self, inside: Tensor, limits: Mapping[str, float]) -> float:
        """The share of the limit that is used most."""
        return max(float(self.space.costs[name](inside)) / limit for name, limit in limits.items())
