"""BOPs: multiply-accumulates, of which 64 between bits count as one.

A processor multiplies 64 pairs of bits with one XNOR and counts the ones (popcount). The full-precision layers of a
binary network, mostly the first and the last, count in full; without a binary layer, BOPs equal MACs.

Source: the convention of papers on binary networks since Bi-Real Net (Liu et al., ECCV 2018), recalled and not
verified: binary MACs / 64 + full-precision MACs.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from dnal.space.cost import Cost, CostFunction
from dnal.space.space import Space, macs_of_modules
from dnal.space.surgery.inputs import Inputs, at_batch

AT_ONCE = 64
"""Products of bits that count as one multiply-accumulate."""


def multiplies_bits(module: nn.Module) -> bool:
    """Whether a layer multiplies bits with bits: its class says so by ``multiplies_bits = True``."""
    return getattr(module, "multiplies_bits", False) is True


def bops(network: nn.Module, example_inputs: Inputs) -> float:
    """Binary MACs / 64 + full-precision MACs of one example.

    Args:
        network: whose binary layers have ``multiplies_bits = True`` in their class.
        example_inputs: as the network takes them; how many examples there are does not matter.

    Examples:
        >>> from dnal.models.binary.convolution import BinaryConv2d
        >>> network = nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), BinaryConv2d(8, 8, 1))
        >>> bops(network, torch.randn(2, 1, 4, 4))  # 8 x 16, and 8 x 8 x 16 of bits
        144.0
    """
    weights = _weights(network)
    return sum(macs * weights.get(path, 1.0) for path, macs in macs_of_modules(network, at_batch(example_inputs, 1)))


def bops_cost(network: nn.Module, space: Space, example_inputs: Inputs, batch: int) -> CostFunction:
    """:func:`bops` as a function of gates: the MACs of the Space, each product with its weight.

    Args:
        network: the one that ``space`` was made of. example_inputs, batch: not used; every cost is given them.
    """
    macs, weights = space.costs["macs"], _weights(network)
    assert isinstance(macs, Cost)
    cost = copy.copy(macs)
    own = torch.tensor([weights.get(path, 1.0) for path in space.multiplied], dtype=torch.float64)
    cost.factors = macs.factors * own.to(macs.factors.device)
    return cost


def _weights(network: nn.Module) -> dict[str, float]:
    """How much a product of each binary layer counts, by the layer's path; all others count 1."""
    return {path: 1 / AT_ONCE for path, module in network.named_modules() if multiplies_bits(module)}
