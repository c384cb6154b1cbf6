"""Optimizers by name: SGD as dnal trains by default, and those of timm's factory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from dnal.base.errors import UserError, suggestion

MakeOptimizer = Callable[[nn.Module, float], torch.optim.Optimizer]
"""(network, learning rate) -> an optimizer of its parameters that require gradients."""

SGD = "sgd"
DECAY = 5e-4
"""Weight decay of SGD."""
DECOUPLED_DECAY = 0.05
"""That of the optimizers which decay weights apart from the gradient, as vision transformers are trained."""


def sgd(network: nn.Module, lr: float, weight_decay: float = DECAY, momentum: float = 0.9) -> torch.optim.SGD:
    """SGD with Nesterov momentum over the parameters that are trained; biases and norms are not decayed."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.SGD([g for g in groups if g["params"]], lr=lr, momentum=momentum, nesterov=momentum > 0)


def optimizer_of(given: str | MakeOptimizer) -> MakeOptimizer:
    """What makes the optimizer: a function of the user's as it is; "sgd" is :func:`sgd`, other names are timm's, such
    as "adamw" or "lamb", with a weight decay of .05 except for biases and norms.

    Raises:
        UserError: timm has no such optimizer.
    """
    if not isinstance(given, str):
        return given
    if given == SGD:
        return sgd
    from timm.optim import create_optimizer_v2, list_optimizers  # type: ignore[attr-defined]

    known = [str(name) for name in list_optimizers()]
    if given not in known:
        raise UserError(
            f"unknown optimizer '{given}'; {suggestion(given, known, 'sgd, adamw and lamb are the usual ones')}"
        )

    def make(network: nn.Module, lr: float) -> torch.optim.Optimizer:
        return create_optimizer_v2(network, opt=given, lr=lr, weight_decay=DECOUPLED_DECAY)

    return make
