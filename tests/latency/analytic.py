"""A device whose times are formulas: what a profile on it must find is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

import dnal
from dnal.latency.backends.backend import Backend
from dnal.latency.layers import Layer
from dnal.space.surgery.inputs import Inputs

OVERHEAD = 0.25
"""Milliseconds that a whole network takes besides its layers."""
SLOWER = 1.5
"""What a convolution takes inside a network, over what it takes by itself."""


def convolution_ms(inner: int, outer: int) -> float:
    return 0.01 + 0.002 * inner + 0.001 * outer + 0.0005 * inner * outer


class Analytic(Backend):
    """Only convolutions take time; ``timed`` counts the layers that were asked for."""

    name = "analytic"

    def __init__(self) -> None:
        self.timed = 0

    def network(self, network: nn.Module, inputs: Inputs) -> Callable[[], float]:
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        ms = sum(convolution_ms(m.in_channels, m.out_channels) for m in convolutions)
        return lambda: SLOWER * ms + OVERHEAD

    def layer(self, layer: Layer, shapes: Sequence[tuple[int, ...]]) -> Callable[[int], float] | None:
        self.timed += 1
        ms = convolution_ms(shapes[1][1], shapes[1][0]) if layer.kind == "convolution" else 0.0
        return lambda times: ms

    @property
    def device(self) -> str:
        return "a formula"

    @property
    def versions(self) -> dict[str, str]:
        return {"formula": "1"}


class Plain(nn.Module):
    """Three convolutions and a residual sum."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1, stride=2)
        self.third = nn.Conv2d(2 * width, 2 * width, 1)
        self.last = nn.Linear(2 * width, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.second(torch.relu(self.norm(self.first(x)))))
        return self.last((y + self.third(y)).mean((2, 3)))


def plain(width: int = 48) -> tuple[nn.Module, dnal.Space, torch.Tensor]:
    torch.manual_seed(0)
    network, example = Plain(width).eval(), torch.randn(2, 3, 8, 8)
    return network, dnal.Space.of(network, example), example
