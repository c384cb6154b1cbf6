"""The first weights of a hypernetwork, so that those which it predicts are as large as a network's are at its start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

SLOPE = 0.01
"""Of the leaky ReLU."""
GAIN = nn.init.calculate_gain("leaky_relu", SLOPE)


@torch.no_grad()
def initialize_hidden(hidden: nn.Sequential) -> None:
    """Kaiming's normal weights by the number of outputs, and biases of 0: features are about as long as inputs."""
    for layer in hidden:
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_normal_(layer.weight, SLOPE, mode="fan_out", nonlinearity="leaky_relu")
            layer.bias.zero_()


@torch.no_grad()
def initialize_residual(output: nn.Linear, values: Sequence[Tensor], spread: float) -> None:
    """The bias is the network's own weights; on top of it, what depends on the input: rows of each tensor by the number
    of that tensor's elements (split initialisation). By that of all together, the input would be ignored for long.

    Args:
        values: the network's own tensors, in their order. spread: times the standard deviation of the rows.
    """
    output.bias.copy_(torch.cat([value.detach().reshape(-1).to(output.bias) for value in values]))
    for rows, value in zip(output.weight.split([value.numel() for value in values]), values, strict=True):
        rows.normal_(0, spread * GAIN / math.sqrt(value.numel()))


@torch.no_grad()
def initialize_plain(output: nn.Linear, values: Sequence[Tensor], features: Tensor, spread: float) -> None:
    """A bias of 0; the rows of each tensor such that what is predicted has its root mean square.

    Args:
        values: the network's own tensors, in their order. features: (F,) what the layer reads at the middle of all
            inputs. spread: times the standard deviation of the rows.
    """
    output.bias.zero_()
    length = max(float(features.norm()), torch.finfo(features.dtype).tiny)
    for rows, value in zip(output.weight.split([value.numel() for value in values]), values, strict=True):
        rows.normal_(0, spread * float(value.detach().float().square().mean().sqrt()) / length)
