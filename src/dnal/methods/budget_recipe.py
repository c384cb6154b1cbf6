"""DNAL under a budget (recipe "budget"): architecture parameters by projected gradient descent.

Every variable v has an architecture parameter s_v and the scaled sigmoid gate of arXiv 2103.02126,
g_v = sigmoid(delta s_v); in the forward pass the gate is rounded to 0/1 and its gradient passes straight through. So
there is no gap between soft and hard network, and shrinking all gates together (which batch norm would undo) buys
nothing. One step:

1. the task's gradient with respect to s, plus a multiplier times the gradient of the binding cost. The multiplier is
   the one that makes the step neutral in cost, lambda = max(0, -<c, P t> / <c, P c>) for task gradient t, cost gradient
   c and the optimizer's preconditioner P (gradient projection, Rosen 1960): it needs no tuning;
2. Adam on s;
3. all s are shifted by one number, so that the set {s > 0} is the largest that fits the budget of this moment, and
   clamped to [-1, 1], so that a closed channel can come back.

The budget of the moment starts at the whole network and tightens geometrically; delta grows, most of it late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal.gates import Gated, hard_gates
from dnal.methods.gate_record import gate_record
from dnal.methods.ranking import Ranking
from dnal.methods.selection import fits, longest
from dnal.space.cost import CostFunction
from dnal.space.space import Space
from dnal.train.listener import Listener
from dnal.train.loop import Loader, run_epochs
from dnal.train.weights import Loss, set_lr, sgd, taught_loss

START = 1.0
"""s of an open gate at the start; also the bound of |s|."""
WAIT, TIGHT = 0.1, 0.7
"""Shares of the phase: until the first, every gate stays open and s only learns; at the second, the budget is met."""


def limits_at(progress: float, full: Mapping[str, float], limits: Mapping[str, float]) -> dict[str, float]:
    """The budget of the moment: from the base's costs geometrically to the limits; ``progress`` from 0 to 1."""
    share = min(max((progress - WAIT) / (TIGHT - WAIT), 0.0), 1.0)
    return {name: full[name] ** (1 - share) * limit**share for name, limit in limits.items()}


def delta_at(progress: float) -> float:
    """The scale of the sigmoid: 2 until the budget is met, then growing geometrically to 1,000."""
    late = min(max((progress - TIGHT) / (1 - TIGHT), 0.0), 1.0)
    return float(2.0 * 500.0**late)


def neutral_multiplier(task: Tensor, cost: Tensor, preconditioner: Tensor) -> float:
    """lambda >= 0 for which the step -P (task + lambda cost) changes the cost least; all of shape (num_variables,)."""
    weighted = preconditioner * cost
    norm = float(weighted @ cost)
    return max(0.0, -float(weighted @ task) / norm) if norm > 0 else 0.0


def binding_cost(costs: Mapping[str, CostFunction], limits: Mapping[str, float], gates: Tensor) -> Tensor:
    """The largest of cost / limit: a scalar, differentiable in the gates (num_variables,)."""
    return torch.stack([costs[name](gates) / limit for name, limit in limits.items()]).max()


class BudgetSearch:
    """The state of the search: an Adam on s and the multiplier. For any training loop::

        gated = Gated(network, space, start=START)
        search = BudgetSearch(gated, space, limits, steps)
        for inputs, targets in batches:                 # ``steps`` of them
            loss(gated(inputs), targets).backward()     # one backward for weights and s
            weight_optimizer.step()
            search.step()
            gated.zero_grad()

    Args:
        limits: cost name -> bound in its own unit. steps: length of the search.
        lr: of s; by default 20 / steps, so that a gate can cross its range many times.
    """

    def __init__(
        self, gated: Gated, space: Space, limits: Mapping[str, float], steps: int, lr: float | None = None
    ) -> None:
        self.gated, self.space, self.limits, self.steps = gated, space, dict(limits), max(steps, 1)
        self.lr = lr if lr is not None else min(max(20.0 / self.steps, 1e-3), 0.1)
        self.optimizer = torch.optim.Adam([gated.s], lr=self.lr, betas=(0.9, 0.99))
        self.multiplier = 0.0
        self.done = 0
        self._ranking = Ranking(space, device=gated.s.device)
        self._every = max(1, min(10, self.steps // 100))  # a shift costs a binary search of cost evaluations
        gated.hard = True
        gated.delta = delta_at(0.0)

    def step(self) -> None:
        """After the task's backward pass: one step of s, whose gradient is consumed."""
        s = self.gated.s
        if s.grad is None:
            raise RuntimeError("run the gated network and its backward pass before the step of s")
        s.grad.add_(self._cost_gradient(s.grad))
        late = max(0.0, (self.progress - TIGHT) / (1 - TIGHT))
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * (1 - 0.9 * late)
        self.optimizer.step()
        s.grad = None
        self.done += 1
        self.gated.delta = delta_at(self.progress)
        if self.done % self._every == 0 or self.done == self.steps:
            self._project()

    @property
    def progress(self) -> float:
        return min(self.done / self.steps, 1.0)

    def _cost_gradient(self, task: Tensor) -> Tensor:
        s = self.gated.s.detach().requires_grad_()
        with torch.enable_grad():
            ratio = binding_cost(self.space.costs, self.limits, hard_gates(s, self.gated.delta))
            (cost,) = torch.autograd.grad(ratio, s)
        moments: Any = self.optimizer.state.get(self.gated.s, {})
        second = moments.get("exp_avg_sq")
        preconditioner = torch.ones_like(task) if second is None else 1 / (second.sqrt() + 1e-12)
        self.multiplier = 0.9 * self.multiplier + 0.1 * neutral_multiplier(task, cost, preconditioner)
        return self.multiplier * cost

    @torch.no_grad()
    def _project(self) -> None:
        s = self.gated.s
        now = limits_at(self.progress, self.space.full_cost, self.limits)
        place, _ = self._ranking.places(s)
        count = longest(
            self._ranking.must, self._ranking.chunks, lambda count: fits(self.space.costs, now, place < count)
        )
        inside = place < count
        if bool(inside.all()):
            if float(s.min()) <= 0:
                s.add_(1e-3 - s.min())
        else:
            s.sub_((s[inside].min() + s[~inside].max()) / 2)
        s.clamp_(-START, START)
        stays = place < self._ranking.must
        s[stays] = s[stays].clamp(min=1e-3)


def search(
    fabric: Fabric,
    gated: Gated,
    space: Space,
    limits: Mapping[str, float],
    loader: Loader,
    *,
    epochs: int,
    lr: float,
    loss: Loss,
    teacher: nn.Module | None = None,
    held_out: Loader | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    listener: Listener | None = None,
    history: list[dict[str, Any]] | None = None,
) -> Tensor:
    """The architecture phase: weights and s learn together, two optimizers.

    Which data each step sees: without ``held_out``, joint steps, where one loss and one backward pass over a training
    batch move both the weights (SGD, ``lr`` after a short warm-up) and s. With ``held_out``, alternating steps: a
    training batch moves the weights, then a batch of ``held_out`` moves s, and neither sees the other's data.

    Returns:
        s at the end, shape (num_variables,): the ranking for the selection.

    Raises:
        Diverged: when the loss is no number.
    """
    module, weight_optimizer = fabric.setup(gated, sgd(gated.network, lr))
    objective = taught_loss(loss, teacher)
    state = BudgetSearch(gated, space, limits, epochs * len(loader))
    others = _endless(held_out) if held_out is not None else None
    module.train()

    def step(inputs: Any, targets: Any, progress: float) -> Tensor:
        set_lr(weight_optimizer, lr * min(1.0, progress / 0.05))
        gated.zero_grad(set_to_none=True)
        value = objective(module(inputs), targets, inputs)
        fabric.backward(value)
        weight_optimizer.step()
        if others is not None:
            gated.zero_grad(set_to_none=True)
            inputs, targets = fabric.to_device(next(others))
            fabric.backward(objective(module(inputs), targets, inputs))
        state.step()
        return value.detach()

    def describe() -> dict[str, Any]:
        return {"lr": lr, "multiplier": state.multiplier, **gate_record(gated, space, validate)}

    run_epochs(
        fabric, "architecture", loader, epochs, step,
        state=gated, describe=describe, listener=listener or Listener(),
        history=history if history is not None else [],
    )  # fmt: skip
    return gated.s.detach().cpu()


def _endless(loader: Loader) -> Iterator[Any]:
    while True:
        yield from loader
