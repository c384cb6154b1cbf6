"""Costs that are counted on a network by looking at it."""

from __future__ import annotations

from torch import nn

from dnal.space.space import known_macs, macs_of_weights
from dnal.space.surgery.inputs import Inputs, at_batch
from dnal.space.surgery.tensors import named_tensors


def macs_of_one(network: nn.Module, example_inputs: Inputs) -> int:
    """Multiply-accumulates of one example."""
    return known_macs(network, at_batch(example_inputs, 1))


def nonzero_macs(network: nn.Module, example_inputs: Inputs) -> int:
    """Multiply-accumulates of one example without those whose weight is 0: what would be left where zeros cost nothing.
    Products of two values, as in attention, count in full."""
    parameters = dict(network.named_parameters(remove_duplicate=False))
    total = 0.0
    for name, macs in macs_of_weights(network, at_batch(example_inputs, 1)):
        weight = parameters.get(name)
        total += macs if weight is None or not weight.numel() else macs * int(weight.count_nonzero()) / weight.numel()
    return round(total)


def compressed(network: nn.Module, example_inputs: Inputs | None = None) -> int:
    """Bytes of all parameters and buffers where a tensor with zeros is stored as a bit for each number, which says
    whether it is 0, and the others' values; as it is, where that takes less."""
    total, seen = 0, set()
    for _, tensor in named_tensors(network):
        if id(tensor) not in seen:
            seen.add(id(tensor))
            nonzero = -(-tensor.numel() // 8) + int(tensor.count_nonzero()) * tensor.element_size()
            total += min(nonzero, tensor.numel() * tensor.element_size())
    return total


def params(network: nn.Module, example_inputs: Inputs | None = None) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in network.parameters())
