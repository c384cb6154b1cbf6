"""A convolution of bits with bits."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, empty, nn

from dnal.models.binary.signs import sign

PADDING = 1.0
"""What stands around an image. Zero is no bit; and a border of zeros would give sums of the other parity."""


def binary_conv2d(x: Tensor, weight: Tensor, *, stride: int = 1, groups: int = 1) -> Tensor:
    """The convolution of the signs of images with the signs of filters, times the mean size of each filter's weights.

    An image keeps its size at stride 1: it has a border of +1. A sum of n products of bits is one of n + 1 values: with
    one input channel for each output and a kernel of 3x3, one of 10.

    Args:
        x: (N, C_in, H, W). weight: (C_out, C_in / groups, K, K), K odd; real numbers, of which the signs count.

    Returns:
        (N, C_out, H', W'): whole numbers from -n to n by twos, n = K * K * C_in / groups, each times the scale of its
        channel, mean |w|. The scale has no gradient: behind it stands a batch norm, which takes scales out again.

    Source: Rastegari et al., XNOR-Net, ECCV 2016 (scale of each filter; theirs of the activations is left out).
    """
    reach = weight.size(-1) // 2
    bits = F.pad(sign(x), (reach,) * 4, value=PADDING) if reach else sign(x)
    scale = weight.detach().abs().mean((1, 2, 3)).view(-1, 1, 1)
    return F.conv2d(bits, sign(weight), stride=stride, groups=groups) * scale


class BinaryConv2d(nn.Module):
    """:func:`binary_conv2d` with weights that are trained: real numbers, of which the forward pass takes the signs.

    It is no ``nn.Conv2d``: zeros among its weights are bits like others, so nothing that sets weights to 0 or takes
    channels away knows it.

    Args:
        in_channels, out_channels, kernel (odd), stride, groups: of the convolution.

    Attributes:
        multiplies_bits: says to the cost ``bops`` that products here are those of bits.

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
