"""The mobile inverted bottleneck, the candidate of ProxylessNAS supernets."""

from __future__ import annotations

from torch import nn

MOMENTUM, EPS = 0.1, 1e-3
"""Of batch norm (arXiv 2103.02126, supernet)."""


def conv_bn(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True
) -> list[nn.Module]:
    """Convolution, batch norm, and ReLU6 where ``act``; "same" padding for odd kernels."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=EPS, momentum=MOMENTUM),
    ]
    return [*layers, nn.ReLU6(inplace=True)] if act else layers


class MBConv(nn.Sequential):
    """1x1 expansion, depthwise kernel x kernel, 1x1 projection, each with batch norm, ReLU6 behind the first two:
    (N, inputs, H, W) -> (N, outputs, H / stride, W / stride). Without expansion (1) the first is left out.

    Source: Sandler et al. (2018), as in ProxylessNAS, arXiv 1812.00332.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, expansion: int, stride: int = 1) -> None:
        inner = inputs * expansion
        first = conv_bn(inputs, inner, 1) if expansion > 1 else []
        super().__init__(
            *first,
            *conv_bn(inner, inner, kernel, stride=stride, groups=inner),
            *conv_bn(inner, outputs, 1, act=False),
        )
        self.kernel, self.expansion = kernel, expansion

    def extra_repr(self) -> str:
        return f"kernel {self.kernel}, expansion {self.expansion}"
