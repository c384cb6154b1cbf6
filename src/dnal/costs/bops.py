"""BOPs: multiply-accumulates, of which 64 between bits count as one.

A processor multiplies 64 pairs of bits at once (XNOR), and counts the ones. The real layers of a network of bits,
mostly the first and the last, count in full; where no layer is one of bits, BOPs are MACs.

Source: the convention of papers on binary networks since Bi-Real Net (Liu et al., ECCV 2018), as recalled: binary MACs
/ 64 + real MACs.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from dnal.space.cost import Cost, CostFunction
from dnal.space.space import Space, macs_of_modules
from dnal.space.surgery.inputs import Inputs, at_batch

AT_ONCE = 64
"""Products of bits that count as one."""


def multiplies_bits(module: nn.Module) -> bool:
    """Whether the products of a layer are those of bits: its class says so by ``multiplies_bits = True``."""
    return getattr(module, "multiplies_bits", False) is True


def bops(network: nn.Module, example_inputs: Inputs) -> float:
    """Binary MACs / 64 + real MACs of one example.

    Examples:
        >>> from dnal.models.binary.convolution import BinaryConv2d
        >>> network = nn.Sequential(nn.Conv2d(1, 8, 1, bias=False), BinaryConv2d(8, 8, 1))
        >>> bops(network, torch.randn(2, 1, 4, 4))  # 8 x 16 real ones, and 8 x 8 x 16 of bits
        144.0
    """
    shares = _shares(network)
    return sum(macs * shares.get(path, 1.0) for path, macs in macs_of_modules(network, at_batch(example_inputs, 1)))


def bops_cost(network: nn.Module, space: Space, example_inputs: Inputs, batch: int) -> CostFunction:
    """The same as a function of gates: the MACs of the Space, each product with its share.

    Args:
        network: the one that ``space`` was made of. example_inputs, batch: not needed.
    """
    macs, shares = space.costs["macs"], _shares(network)
    assert isinstance(macs, Cost)
    cost = copy.copy(macs)
    own = torch.tensor([shares.get(path, 1.0) for path in space.multiplied], dtype=torch.float64)
    cost.factors = macs.factors * own.to(macs.factors.device)
    return cost


def _shares(network: nn.Module) -> dict[str, float]:
    """What a product counts, of the modules whose products count less than one."""
    return {path: 1 / AT_ONCE for path, module in network.named_modules() if multiplies_bits(module)}
