"""The exponential moving average of the weights."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from dnal.base.options import option
from dnal.train.step import Step
from dnal.train.technique import Scene, Technique


@dataclass
class EMA(Technique):
    """Exponential moving average of the weights (Polyak averaging): what leaves the phase is the average.

    After every step: average = d * average + (1 - d) * weights, with d = min(decay, (1 + n) / (10 + n)) after n steps,
    so that a short phase does not average its first weights. Buffers, such as the statistics of batch norm, are
    averaged alike. Costs one copy of the network and no training time that can be measured. Helps where the learning
    rate is high until the end. Source: Polyak and Juditsky, 1992; the warm-up is TensorFlow's ExponentialMovingAverage.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")

    decay: float = option(0.999, "Share of the average that stays at each step, once it is warm.", least=0, below=1)

    def prepare(self, network: nn.Module, scene: Scene) -> None:
        self._network = network
        self._average = {name: value.detach().clone() for name, value in _floats(network).items()}
        self._steps = 0

    def after_step(self, step: Step) -> None:
        self._steps += 1
        decay = min(self.decay, (1 + self._steps) / (10 + self._steps))
        averaged(self._average, _floats(self._network), decay)

    def finish(self, network: nn.Module) -> None:
        with torch.no_grad():
            for name, value in _floats(network).items():
                value.copy_(self._average[name])

    def state_dict(self) -> dict[str, Any]:
        return {"average": copy.copy(self._average), "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in self._average.items():
            value.copy_(state["average"][name])
        self._steps = state["steps"]


@torch.no_grad()
def averaged(average: dict[str, torch.Tensor], values: dict[str, torch.Tensor], decay: float) -> None:
    """average = decay * average + (1 - decay) * values, in place, name by name."""
    for name, value in values.items():
        average[name].lerp_(value, 1 - decay)


def _floats(network: nn.Module) -> dict[str, torch.Tensor]:
    """Its parameters and buffers of floating-point numbers, by name; one that has two names once."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor.detach() for name, tensor in tensors.items() if tensor.is_floating_point()}
