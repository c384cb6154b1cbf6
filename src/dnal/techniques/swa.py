"""Stochastic weight averaging."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from dnal.base.options import option
from dnal.train.loader import Loader
from dnal.train.norm_statistics import renew_statistics
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass
class SWA(Technique):
    """Stochastic weight averaging: the plain mean of the weights over the last part of a phase.

    From the share ``start`` of the phase on, the weights after every epoch's worth of steps join the mean
    (torch.optim.swa_utils.AveragedModel); at the end the network gets it, and its batch norms new statistics from one
    pass over the training data. Costs a copy of the network and that pass. It is made for learning rates that stay
    high: with the cosine, which ends near zero, the last weights are close to their mean already. Source: Izmailov et
    al., arXiv 1803.05407.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")

    start: float = option(0.75, "Share of the phase after which averaging begins.", least=0, below=1)

    def data(self, loader: Loader, scene: Scene) -> Loader:
        self._loader = loader
        return loader

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._average = AveragedModel(network)
        self._every, self._steps = max(1, scene.steps // max(1, scene.epochs)), 0

    def after_step(self, step: Step) -> None:
        self._steps += 1
        if step.progress > self.start and self._steps % self._every == 0:
            self._average.update_parameters(step.network)

    def finish(self, network: nn.Module) -> None:
        if not int(self._average.n_averaged):
            return
        with torch.no_grad():
            for value, mean in zip(network.parameters(), self._average.module.parameters(), strict=True):
                value.copy_(mean)
        renew_statistics(network, self._loader)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self._average.state_dict(), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._average.load_state_dict(state["average"])
        self._steps = state["steps"]
