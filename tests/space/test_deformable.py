"""Deformable convolutions lose channels as plain ones do."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d

import dnal
from independent import assert_exact, coin_flips, randomise
from networks import conv

SIDE = 6


class Deformed(nn.Module):
    def __init__(self, groups: int = 1, offset_groups: int = 1, masked: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.first, self.last = conv(3, 12), conv(16, 4)
        self.offset = conv(12, 18 * offset_groups)
        self.mask = conv(12, 9 * offset_groups) if masked else None
        self.deformed = DeformConv2d(12, 16 if groups < 12 else 12, 3, padding=1, groups=groups, bias=bias)
        self.last = conv(self.deformed.out_channels, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        mask = None if self.mask is None else self.mask(x).sigmoid()
        return self.last(self.deformed(x, 0.5 * self.offset(x), mask).relu())

    def macs(self) -> int:
        """By hand: each convolution is looked at as a plain one."""
        convs: list[Any] = [self.first, self.offset, self.deformed, self.last, *([self.mask] if self.mask else [])]
        return SIDE**2 * sum(c.weight.numel() for c in convs)


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({}, [12, 16]),
        ({"bias": False, "masked": True}, [12, 16]),
        ({"offset_groups": 2}, [6, 16]),
        ({"offset_groups": 3, "masked": True}, [4, 16]),
        ({"groups": 2}, [6, 8]),
        ({"groups": 2, "offset_groups": 4}, [3, 8]),
        ({"groups": 12}, [12]),
        ({"groups": 12, "offset_groups": 2}, [6]),
    ],
)
def test_deformable_convolution(options: dict[str, Any], widths: list[int]) -> None:
    torch.manual_seed(0)
    network = randomise(Deformed(**options)).eval()
    inputs = torch.randn(2, 3, SIDE, SIDE)
    space = dnal.Space.of(network, inputs)
    assert [group.width for group in space.groups] == widths
    for seed in range(3):
        small: Any = assert_exact(network, inputs, space, coin_flips(space, seed), lambda n: n.macs())
        layer = small.deformed
        assert layer.in_channels == small.first.out_channels
        assert layer.out_channels == layer.weight.size(0) == small.last.in_channels
        assert layer.weight.size(1) * layer.groups == layer.in_channels
        assert small.offset.out_channels == network.offset.out_channels
