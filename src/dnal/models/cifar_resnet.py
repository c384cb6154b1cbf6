"""ResNets for CIFAR with parameter-free (option A) shortcuts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dnal.models.kaiming import kaiming_init
from dnal.models.registry import register


class OptionA(nn.Module):
    """The parameter-free shortcut, every second pixel between zero channels: (N, C, H, W) -> (N, D, H/2, W/2).

    The zeros are two registered buffers rather than a padding amount. A removed channel of the stream may be a zero
    channel; a buffer is sliced like a parameter when channels leave, so the pruned shortcut is right by itself, while a
    number in the code (how many zeros to pad) would have to be rewritten.

    Source: He et al., "Deep Residual Learning" (2015), section 4.2, option A.
    """

    before: Tensor
    after: Tensor

    def __init__(self, in_planes: int, planes: int) -> None:
        super().__init__()
        added = planes - in_planes
        self.register_buffer("before", torch.zeros(added // 2))
        self.register_buffer("after", torch.zeros(added - added // 2))

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, ::2, ::2]
        # Sizes are read from the tensors themselves, so that nothing here is wrong once channels have been removed.
        n, _, h, w = x.shape
        before = self.before[None, :, None, None].expand(n, -1, h, w)
        after = self.after[None, :, None, None].expand(n, -1, h, w)
        return torch.cat([before, x, after], dim=1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Identity() if stride == 1 else OptionA(in_planes, planes)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self.bn2(self.conv2(out)) + self.shortcut(x))
        return result


class CifarResNet(nn.Module):
    """ResNet of depth 6n+2 with widths 16, 32, 64: (N, C, H, W) -> logits (N, classes)."""

    def __init__(self, depth: int, *, classes: int, in_channels: int) -> None:
        super().__init__()
        if depth % 6 != 2:
            raise ValueError(f"the depth of a CIFAR ResNet is 6n+2 (20, 32, 44, 56, 110), not {depth}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)
        kaiming_init(self)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def _stage(in_planes: int, planes: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(in_planes, planes, stride)
    return nn.Sequential(first, *(BasicBlock(planes, planes, 1) for _ in range(blocks - 1)))


@register("cifar/resnet56", input_shape=(3, 32, 32))
def resnet56(*, classes: int, in_channels: int) -> CifarResNet:
    """ResNet-56: 0.85 M parameters, 125.49 M MACs at 3x32x32. Source: arXiv 2103.02126, CIFAR-10 table."""
    return CifarResNet(56, classes=classes, in_channels=in_channels)


@register("cifar/resnet20", input_shape=(3, 32, 32))
def resnet20(*, classes: int, in_channels: int) -> CifarResNet:
    """ResNet-20: 0.27 M parameters, 40.55 M MACs at 3x32x32."""
    return CifarResNet(20, classes=classes, in_channels=in_channels)
