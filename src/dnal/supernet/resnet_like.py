"""Another space in a few lines: blocks that may be basic, bottleneck, depthwise or squeeze-and-excite."""

from __future__ import annotations

from torch import nn

from dnal.space.surgery.edge import MixedEdge
from dnal.supernet.mobile import conv_bn


def candidates(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """The four kinds of block, each (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
    from torchvision.ops import SqueezeExcitation  # seconds, for every command that knows a model's name

    basic = [*conv_bn(inputs, outputs, 3, stride=stride), *conv_bn(outputs, outputs, 3, act=False)]
    narrow = [*conv_bn(inputs, outputs // 4, 1), *conv_bn(outputs // 4, outputs // 4, 3, stride=stride)]
    depthwise = [*conv_bn(inputs, inputs, 5, stride=stride, groups=inputs), *conv_bn(inputs, outputs, 1, act=False)]
    excited = [*conv_bn(inputs, outputs, 3, stride=stride), SqueezeExcitation(outputs, outputs // 4)]
    return [
        nn.Sequential(*basic),
        nn.Sequential(*narrow, *conv_bn(outputs // 4, outputs, 1, act=False)),
        nn.Sequential(*depthwise),
        nn.Sequential(*excited, *conv_bn(outputs, outputs, 1, act=False)),
    ]


class ResNetLike(nn.Sequential):
    """(N, C, H, W) -> logits (N, classes)."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64), *, classes: int, in_channels: int) -> None:
        layers: list[nn.Module] = conv_bn(in_channels, widths[0], 3)
        for inputs, outputs in zip((widths[0], *widths), widths, strict=False):
            layers.append(MixedEdge(candidates(inputs, outputs, 1 if inputs == outputs else 2)))
            layers.append(MixedEdge(candidates(outputs, outputs, 1), shortcut=True))
        super().__init__(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
