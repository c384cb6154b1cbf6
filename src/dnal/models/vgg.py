"""VGG networks with batch-norm for small images: VGG16 of the paper, the same at a quarter width, and a small one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from dnal.models.kaiming import kaiming_init
from dnal.models.registry import register

Plan = Sequence[int | Literal["M"]]

VGG16: Plan = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
VGG16_QUARTER: Plan = (16, 16, "M", 32, 32, "M", 64, 64, 64, "M", 128, 128, 128, "M", 128, 128, 128)
SMALL: Plan = (32, 32, "M", 64, 64, "M", 128, 128)


def vgg_features(plan: Plan, in_channels: int) -> nn.Sequential:
    """A chain of 3x3 conv, batch-norm and ReLU; a number is a width, "M" a 2x2 max-pooling."""
    layers: list[nn.Module] = []
    channels = in_channels
    for step in plan:
        if step == "M":
            layers.append(nn.MaxPool2d(2))
            continue
        # No bias: the batch-norm behind it has one, and two in a row would be one too many.
        layers += [
            nn.Conv2d(channels, step, 3, padding=1, bias=False),
            nn.BatchNorm2d(step),
            nn.ReLU(inplace=True),
        ]
        channels = step
    return nn.Sequential(*layers)


class VGG(nn.Module):
    """Features, global average pooling, classifier: (N, C, H, W) -> logits (N, classes).

    ``hidden`` is the width of a hidden classifier layer (linear, batch-norm, ReLU); None means a single linear layer.
    At 32x32 the pooling of VGG16 is the 2x2 average of its last 2x2 map; at 16x16 that map is 1x1 already.
    """

    def __init__(self, plan: Plan, *, classes: int, in_channels: int, hidden: int | None) -> None:
        super().__init__()
        self.features = vgg_features(plan, in_channels)
        self.pool = nn.AdaptiveAvgPool2d(1)
        width = next(step for step in reversed(plan) if step != "M")
        if hidden is None:
            self.classifier = nn.Sequential(nn.Linear(width, classes))
        else:
            self.classifier = nn.Sequential(
                nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, classes)
            )
        kaiming_init(self)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return logits


@register("cifar/vgg16_bn", input_shape=(3, 32, 32), least_side=16)
def vgg16_bn(*, classes: int, in_channels: int) -> VGG:
    """VGG16-BN with a 512-512-classes classifier: 14.99 M parameters, 313.46 M MACs at 3x32x32.

    The paper prints 313.47 M because its counter adds one operation per batch-norm channel and per bias.
    Source: arXiv 2103.02126, CIFAR-10 table.
    """
    return VGG(VGG16, classes=classes, in_channels=in_channels, hidden=512)


@register("cifar/vgg16_bn_quarter", input_shape=(3, 32, 32), least_side=16)
def vgg16_bn_quarter(*, classes: int, in_channels: int) -> VGG:
    """VGG16-BN's proportions at a quarter of its width: unbalanced widths that train on two cores."""
    return VGG(VGG16_QUARTER, classes=classes, in_channels=in_channels, hidden=128)


@register("vgg_small", input_shape=(1, 8, 8), least_side=4)
def vgg_small(*, classes: int, in_channels: int) -> VGG:
    """Six convolutions (32, 32, M, 64, 64, M, 128, 128) and one linear layer: far too much for 8x8 digits."""
    return VGG(SMALL, classes=classes, in_channels=in_channels, hidden=None)
