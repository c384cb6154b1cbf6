"""``neurons/``: hidden layers of neurons that each have an activation of their own, for tables."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.data.kind import Sizes
from dnal.models.genomes.genome import Form, Genome
from dnal.models.genomes.layers import WIDEST
from dnal.models.kaiming import kaiming_init

ACTIVATIONS = ("sigmoid", "tanh", "leaky")
SLOPE = 0.01
"""Of the leaky ReLU."""
FORMS: dict[str, Form] = {"h": {name: range(WIDEST + 1) for name in ACTIVATIONS}}
"""``h_2_3_0``: a hidden layer with two neurons that are sigmoids and three that are hyperbolic tangents."""


class Mixed(nn.Module):
    """Activations of neurons, each its own: (N, C) -> (N, C).

    Which neuron has which is told by three buffers of ones and zeros, (C,), which are cut with the neurons that leave.

    Args:
        numbers: of neurons that are sigmoids, hyperbolic tangents, leaky ReLUs, in this order.
    """

    sigmoid: Tensor
    tanh: Tensor
    leaky: Tensor

    def __init__(self, numbers: tuple[int, ...]) -> None:
        super().__init__()
        at = torch.arange(len(ACTIVATIONS)).repeat_interleave(torch.tensor(numbers))
        for number, name in enumerate(ACTIVATIONS):
            self.register_buffer(name, (at == number).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.sigmoid * x.sigmoid() + self.tanh * x.tanh() + self.leaky * F.leaky_relu(x, SLOPE)


def build(genome: Genome, *, classes: int, input_shape: Sizes) -> nn.Module:
    """The network, its weights as :func:`dnal.models.kaiming.kaiming_init` draws them: (N, features) -> (N, classes).

    Raises:
        UserError: a layer without a neuron.
    """
    features = input_shape[0]
    made: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (_, values) in enumerate(genome, 1):
        numbers = tuple(int(value) for value in values)
        if not sum(numbers):
            raise UserError("a layer of a 'neurons/' network has at least one neuron, such as 'neurons/h_2_3_0'.")
        made[f"layer{number}"] = nn.Linear(features, sum(numbers))
        made[f"act{number}"] = Mixed(numbers)
        features = sum(numbers)
    made["head"] = nn.Linear(features, classes)
    network = nn.Sequential(made)
    kaiming_init(network)
    return network
