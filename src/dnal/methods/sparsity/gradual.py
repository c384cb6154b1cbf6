"""Gradual magnitude pruning: ever fewer weights while the network trains."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dnal.base.options import option
from dnal.changes.masks import Masks, apply_masks
from dnal.methods.sparsity.masks import all_of, cubic, kept, largest, maskable
from dnal.methods.sparsity.sparsifier import Sparsifier, masked
from dnal.methods.task import Task
from dnal.train.phase import run_phase
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass(frozen=True)
class GradualMasks(Sparsifier):
    """Masks the smallest weights of the whole network little by little, while it trains on from the base.

    In the phase "architecture" the share that stays falls from 1 to `keep` on a cubic curve, fast at first, in
    `updates` steps; what is masked stays masked. The phase "retrain" trains what is left. Nothing is reset. Costs
    hardly more than training. Source: Zhu and Gupta, arXiv 1710.01878, equation 1, with one threshold for the whole
    network.
    """

    trains: ClassVar[bool] = True
    epochs: ClassVar[tuple[int, int, int]] = (40, 40, 20)

    updates: int = option(50, "How often weights are masked while it trains.", least=1)

    def choose(self, task: Task) -> Masks:
        masking = Gradually(maskable(task.network, task.space), self.keep, self.updates)
        run_phase(task.phase, task.network, task.context, hooks=[masking], validate=task.validate)
        return masked(task.space, masking.masks, self.keep)


class Gradually(Technique):
    """Masks ever more of the weights of these names, and holds them at zero.

    Args:
        weights: by name. keep: the share of them that stays in the end. updates: how often masks are made.
    """

    def __init__(self, weights: dict[str, Tensor], keep: float, updates: int) -> None:
        self._keep, self._updates = keep, updates
        self.masks = all_of(weights)
        self._steps, self._all = 0, 1

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._all = scene.steps

    def after_step(self, step: Step) -> None:
        self._steps += 1
        done, before = (steps * self._updates // self._all for steps in (self._steps, self._steps - 1))
        if done > before or self._steps == self._all:
            share = cubic(self._keep, self._steps / self._all)
            self.masks = largest(_values(step.network, self.masks), share, self.masks)
        apply_masks(step.network, self.masks)

    def finish(self, network: nn.Module) -> None:
        apply_masks(network, self.masks)

    def record(self) -> dict[str, Any]:
        return {"kept": round(kept(self.masks), 6)}

    def state_dict(self) -> dict[str, Any]:
        return {"masks": dict(self.masks), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.masks, self._steps = dict(state["masks"]), state["steps"]


@torch.no_grad()
def _values(network: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """The weights of these names; of a layer that computes its weight while it is trained, what it computes."""
    found = {}
    for name in names:
        path, _, last = name.rpartition(".")
        found[name] = getattr(network.get_submodule(path), last).detach()
    return found
