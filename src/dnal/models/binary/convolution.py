"""A binary convolution: signs of images with signs of filters."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, empty, nn

from dnal.models.binary.signs import sign

PADDING = 1.0
"""The padding value. Zero is no bit, and with zeros at the border sums would change parity there."""


def binary_conv2d(x: Tensor, weight: Tensor, *, stride: int = 1, groups: int = 1) -> Tensor:
    """The convolution of the signs of images with the signs of filters, times the mean size of each filter's weights.

    An image keeps its size at stride 1: it has a border of +1. A sum of n products of bits is one of n + 1 values: with
    one input channel for each output and a kernel of 3x3, one of 10.

    Args:
        x: (N, C_in, H, W). weight: (C_out, C_in / groups, K, K), K odd; its signs are the filters.
        stride, groups: of the convolution.

    Returns:
        (N, C_out, H / stride, W / stride), sizes rounded up: integers from -n to n in steps of 2, where
        n = K * K * C_in / groups, each times the scale of its channel, mean |w|. No gradient passes through the scale:
        the batch norm that follows removes scales anyway.

    Source: Rastegari et al., XNOR-Net, ECCV 2016 (scale of each filter; theirs of the activations is left out).
    """
    reach = weight.size(-1) // 2
    bits = F.pad(sign(x), (reach,) * 4, value=PADDING) if reach else sign(x)
    scale = weight.detach().abs().mean((1, 2, 3)).view(-1, 1, 1)
    return F.conv2d(bits, sign(weight), stride=stride, groups=groups) * scale


class BinaryConv2d(nn.Module):
    """:func:`binary_conv2d` with trained full-precision weights, of which the forward pass takes the signs.

    It is no ``nn.Conv2d``, so that nothing sets its weights to 0 or removes its channels: a zero is the bit +1 here.

    Args:
        in_channels, out_channels, kernel (odd), stride, groups: of the convolution.

    Attributes:
        multiplies_bits: tells the cost ``bops`` that this layer multiplies bits.

    Raises:
        ValueError: groups that do not divide the channels.
    """

    multiplies_bits: ClassVar[bool] = True

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int = 3, *, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{groups} groups do not divide {in_channels} and {out_channels} channels")
        self.in_channels, self.out_channels, self.stride, self.groups = in_channels, out_channels, stride, groups
        self.weight = nn.Parameter(empty(out_channels, in_channels // groups, kernel, kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights as torch draws those of a convolution."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return binary_conv2d(x, self.weight, stride=self.stride, groups=self.groups)

    def extra_repr(self) -> str:
        kernel = self.weight.size(-1)
        return f"{self.in_channels}, {self.out_channels}, {kernel}, stride={self.stride}, groups={self.groups}"
