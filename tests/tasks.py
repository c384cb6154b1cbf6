"""A method's task without a job around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

import dnal
from dnal.methods.task import Task
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.train.phase import Context, Phase


def task_of(
    network: nn.Module,
    space: dnal.Space,
    train: Any,
    limits: Mapping[str, float],
    *,
    val: Any = None,
    epochs: int = 1,
    lr: float = 0.05,
    widths: WidthRule | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    fabric: Fabric | None = None,
    **context: Any,
) -> Task:
    """With cross entropy, no techniques, and whatever ``context`` says beside it."""
    rule = widths or WidthRule()

    def selected(scores: Tensor, tighter: Mapping[str, float] | None = None) -> Tensor:
        return select(space, scores, {**limits, **(tighter or {})}, rule)

    return Task(
        network=network, space=space, budget="", limits=limits, widths=rule, select=selected,
        val=train if val is None else val, phase=Phase("architecture", epochs, lr),
        context=Context(fabric or Fabric(accelerator="cpu", devices=1), train, F.cross_entropy, **context),
        seed=0, validate=validate or (lambda module: math.nan),
    )  # fmt: skip
