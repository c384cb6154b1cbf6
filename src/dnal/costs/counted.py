"""Costs that are counted on a network by looking at it."""

from __future__ import annotations

from torch import nn

from dnal.space.space import known_macs
from dnal.space.surgery.inputs import Inputs, at_batch


def macs_of_one(network: nn.Module, example_inputs: Inputs) -> int:
    """Multiply-accumulates of one example."""
    return known_macs(network, at_batch(example_inputs, 1))


def params(network: nn.Module, example_inputs: Inputs | None = None) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in network.parameters())
