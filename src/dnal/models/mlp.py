"""A multilayer perceptron for tables."""

from __future__ import annotations

from torch import nn

from dnal.models.kaiming import kaiming_init
from dnal.models.registry import register

WIDTH, DEPTH = 128, 2


@register("mlp/small", input_shape=(13,), classes=3, kind="tables")
def small(*, classes: int, features: int) -> nn.Sequential:
    """Two hidden layers of 128 with batch norm: (N, features) -> logits, or numbers, (N, classes)."""
    layers: list[nn.Module] = []
    for width in (features, *[WIDTH] * (DEPTH - 1)):
        layers += [nn.Linear(width, WIDTH, bias=False), nn.BatchNorm1d(WIDTH), nn.ReLU(inplace=True)]
    network = nn.Sequential(*layers, nn.Linear(WIDTH, classes))
    kaiming_init(network)
    return network
