"""The search space of ProxylessNAS: in every block 3x3, 5x5 and 7x7 bottlenecks of expansion 3 and 6 side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from dnal.space.surgery.edge import MixedEdge
from dnal.supernet.mobile import MBConv, conv_bn

KERNELS, EXPANSIONS = (3, 5, 7), (3, 6)


@dataclass(frozen=True)
class Layout:
    """The skeleton of a mobile supernet.

    Attributes:
        stem: width and stride of the first convolution. first: width of the first block, 3x3 of expansion 1.
        widths, blocks, strides: per stage; the stride is that of the stage's first block.
        head: width of the last 1x1 convolution.
    """

    stem: tuple[int, int]
    first: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    strides: tuple[int, ...]
    head: int
    kernels: Sequence[int] = KERNELS
    expansions: Sequence[int] = EXPANSIONS


PROXYLESS = Layout((32, 2), 16, (24, 40, 80, 96, 192, 320), (4, 4, 4, 4, 4, 1), (2, 2, 2, 1, 2, 1), 1280)
"""arXiv 2103.02126, supernet; for images of 224."""
CIFAR = Layout((32, 1), 16, (24, 40, 80, 96, 192, 320), (4, 4, 4, 4, 4, 1), (1, 2, 2, 1, 2, 1), 1280)
"""The same for images of 32: the first convolution and the first stage keep their side."""
SMALL = Layout((16, 1), 12, (24, 32, 64), (3, 3, 2), (2, 2, 2), 128)
"""Eight edges for a CPU."""
TINY = Layout((8, 1), 8, (12, 16), (2, 1), (1, 2), 32, kernels=(3, 5), expansions=(2, 3))
"""Three edges for tests and images of 8."""


class MobileSupernet(nn.Module):
    """(N, C, H, W) -> logits (N, classes); ``edges``: its mixed edges, in order."""

    def __init__(self, layout: Layout, *, classes: int, in_channels: int, recompute: bool = False) -> None:
        super().__init__()
        width, stride = layout.stem
        self.stem = nn.Sequential(*conv_bn(in_channels, width, 3, stride=stride))
        self.first = MBConv(width, layout.first, 3, 1)
        edges = []
        inputs = layout.first
        for outputs, blocks, stride in zip(layout.widths, layout.blocks, layout.strides, strict=True):
            for block in range(blocks):
                step = stride if block == 0 else 1
                candidates = [MBConv(inputs, outputs, k, e, step) for k in layout.kernels for e in layout.expansions]
                edges.append(MixedEdge(candidates, shortcut=step == 1 and inputs == outputs, recompute=recompute))
                inputs = outputs
        self.edges = nn.Sequential(*edges)
        self.mix = nn.Sequential(*conv_bn(inputs, layout.head, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(layout.head, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.edges(self.first(self.stem(x))))
        logits: Tensor = self.classifier(self.pool(x).flatten(1))
        return logits
