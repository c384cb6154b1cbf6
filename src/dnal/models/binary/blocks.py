"""The block of a binary MobileNet: a 3x3 group convolution, then a 1x1 convolution, both binary."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.models.binary.convolution import BinaryConv2d


class Doubled(nn.Module):
    """The channels twice, one copy behind the other: (N, C, H, W) -> (N, 2 C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, x), 1)


class BinaryResidual(nn.Module):
    """A binary convolution between two batch norms, and a full-precision shortcut around them.

    The first norm decides what is above and below 0 where the sign is taken; a ReLU there would make all bits +1.

    Images (N, channels, H, W) -> (N, channels or 2 channels, H or H / 2, W or W / 2), halves rounded up.

    Args:
        channels: of the input. kernel: odd, such as 3 or 1. groups: of the convolution.
        down: whether height and width are halved. double: whether the number of channels is doubled.
    """

    def __init__(
        self, channels: int, kernel: int, *, groups: int = 1, down: bool = False, double: bool = False
    ) -> None:
        super().__init__()
        wider, stride = channels * (1 + double), 1 + down
        self.before = nn.BatchNorm2d(channels)
        self.conv = BinaryConv2d(channels, wider, kernel, stride=stride, groups=groups)
        self.after = nn.BatchNorm2d(wider)
        shortcut: list[nn.Module] = [nn.AvgPool2d(3, 2, 1, count_include_pad=False)] * down + [Doubled()] * double
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.shortcut(x) + self.after(self.conv(self.before(x)))
        return found


class GroupBlock(nn.Sequential):
    """A binary 3x3 convolution in groups, then a binary 1x1 convolution; a full-precision shortcut around each.

    Groups replace the depthwise convolution of MobileNet, whose sums of 9 products of bits have only 10 values: as many
    groups as channels are a depthwise convolution, one group is an ordinary one.

    Args:
        channels: of the input. groups: of the 3x3 convolution; they divide the channels.
        down: whether height and width are halved and the channels doubled, as in MobileNet.

    Source: Phan et al., Binarizing MobileNet via evolution-based searching, CVPR 2020, arXiv 2005.06305: groups in the
    place of depthwise convolutions. The order within a block (batch norm, sign, convolution, batch norm, sum), the
    shortcuts around each convolution (as in Bi-Real Net) and the border of +1 are ours.
    """

    def __init__(self, channels: int, groups: int, *, down: bool = False) -> None:
        super().__init__()
        self.spatial = BinaryResidual(channels, 3, groups=groups, down=down)
        self.pointwise = BinaryResidual(channels, 1, double=down)
