"""Small networks of one shape that are trained at once, each until it fits: a zoo for measures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EVERY = 20
"""Steps between two looks at the loss on all examples."""
MOMENTUM = 0.9


@dataclass(frozen=True)
class Recipe:
    """How one of the networks is trained: its learning rate, the decay of its weights, and the seed of its start and of
    the order of its batches."""

    lr: float
    decay: float
    seed: int


@dataclass(frozen=True)
class Trained:
    """A network before and after training.

    Attributes:
        loss: the cross entropy on all examples where it stopped. steps: that it took.
    """

    initial: nn.Module
    network: nn.Module
    loss: float
    steps: int


def trained_together(
    x: Tensor,
    y: Tensor,
    classes: int,
    widths: Sequence[int],
    recipes: Sequence[Recipe],
    *,
    batch: int,
    fit: float,
    most: int,
) -> list[Trained]:
    """Trains ReLU networks with hidden layers of these widths by SGD with momentum 0.9, all at once.

    Each stops where its cross entropy on all examples is at most ``fit``, looked at every twenty steps, and keeps its
    weights from there; so networks are compared at equal fit and not at equal time.

    Args:
        x: (N, F). y: (N,). batch: examples of a step. most: steps.
    """  # fmt: skip
    sizes = [x.shape[1], *widths, classes]
    starts = [_network(sizes, recipe.seed) for recipe in recipes]
    layers = [[layer for layer in start if isinstance(layer, nn.Linear)] for start in starts]
    weights = [torch.stack([own[place].weight.detach().T for own in layers]) for place in range(len(sizes) - 1)]
    biases = [torch.stack([own[place].bias.detach()[None] for own in layers]) for place in range(len(sizes) - 1)]
    parameters = [value.clone().requires_grad_() for value in (*weights, *biases)]
    momenta = [torch.zeros_like(value) for value in parameters]
    lr, decay = (torch.tensor([getattr(r, name) for r in recipes]).view(-1, 1, 1) for name in ("lr", "decay"))
    draws = [torch.Generator().manual_seed(recipe.seed + 1) for recipe in recipes]
    orders: list[Tensor] = []
    running = torch.ones(len(recipes), dtype=torch.bool)
    steps = torch.zeros(len(recipes), dtype=torch.long)
    losses = torch.full((len(recipes),), math.inf)
    targets = y.expand(len(recipes), -1)
    for step in range(most):
        if step % EVERY == 0:
            with torch.no_grad():
                now = _losses(_said(parameters, x.expand(len(recipes), -1, -1)), targets)
            losses = torch.where(running, now, losses)
            running &= losses > fit
            if not bool(running.any()):
                break
        if step * batch % len(x) < batch:
            orders = [torch.randperm(len(x), generator=draw) for draw in draws]
        first = step * batch % len(x)
        chosen = torch.stack([order.roll(-first)[:batch] for order in orders])
        loss = _losses(_said(parameters, x[chosen]), y[chosen]).sum()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for value, gradient, momentum in zip(parameters, gradients, momenta, strict=True):
                momentum.mul_(MOMENTUM).add_(gradient + decay * value)
                value.sub_(lr * momentum * running.view(-1, 1, 1))
        steps += running
    return [
        Trained(start, _filled(sizes, recipe.seed, [value.detach()[place] for value in parameters]),
                float(losses[place]), int(steps[place]))
        for place, (start, recipe) in enumerate(zip(starts, recipes, strict=True))
    ]  # fmt: skip


def _network(sizes: Sequence[int], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        network = nn.Sequential(*layers[:-1])
        for layer in network:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
    return network.eval()


def _filled(sizes: Sequence[int], seed: int, values: Sequence[Tensor]) -> nn.Module:
    network = _network(sizes, seed)
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for place, layer in enumerate(layers):
            layer.weight.copy_(values[place].T)
            layer.bias.copy_(values[len(layers) + place][0])
    return network


def _said(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
    """Logits (M, B, classes) of M networks on inputs (M, B, F)."""
    depth = len(parameters) // 2
    for place in range(depth):
        x = torch.baddbmm(parameters[depth + place], x, parameters[place])
        if place < depth - 1:
            x = x.relu()
    return x


def _losses(said: Tensor, targets: Tensor) -> Tensor:
    """The cross entropy of each network, (M,)."""
    flat = F.cross_entropy(said.flatten(0, 1), targets.flatten(), reduction="none")
    return flat.view(said.shape[:2]).mean(1)
