"""Linear layers and convolutions as one thing: a kernel that reads columns of a map (N, channels, height, width)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Pair = tuple[int, int]

POSITIONS = 64
"""The most positions of one example that are looked at: neighbours say much the same."""


@dataclass(frozen=True)
class Layer:
    """How a layer reads. A linear one has a kernel of 1x1 over its rows; of a one-dimensional convolution the last side
    is 1."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    linear: bool
    bias: bool

    def map_of(self, read: Tensor, examples: int) -> Tensor | None:
        """What the layer reads as a map; None where it has no whole number of rows for each example."""
        if not self.linear:
            return read[..., None] if read.dim() == 3 else read
        if read.numel() // read.size(-1) % examples:
            return None
        return read.reshape(examples, -1, read.size(-1)).transpose(1, 2)[..., None]

    def columns(self, read: Tensor) -> Tensor:
        """What each position of what the layer makes is made of, (N, columns, positions), of a map that it reads; the
        last column is 1 where it has a bias."""
        if self.linear:
            columns = read.flatten(2)
        else:
            columns = F.unfold(read, self.kernel, self.dilation, self.padding, self.stride)
        if not self.bias:
            return columns
        return torch.cat([columns, columns.new_ones(columns.size(0), 1, columns.size(2))], 1)

    def size(self, read: Tensor) -> Pair:
        """Height and width of what the layer makes of a map."""
        if self.linear:
            return read.size(2), read.size(3)
        sides = zip(read.shape[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        height, width = ((n + 2 * pad - far * (k - 1) - 1) // step + 1 for n, k, step, pad, far in sides)
        return int(height), int(width)

    def taps(self, sides: Pair, positions: Tensor, width: int) -> Tensor:
        """Where in a map of these ``sides`` each kernel position reads, as indices of the flattened map, (positions,
        kernel positions); outside of it the number of its positions.

        Args:
            positions: of what the layer makes, flattened. width: of that.
        """
        high, wide = sides
        rows, columns = positions // width, positions % width
        down, across = (torch.arange(number) for number in self.kernel)
        y = rows[:, None] * self.stride[0] - self.padding[0] + down * self.dilation[0]
        x = columns[:, None] * self.stride[1] - self.padding[1] + across * self.dilation[1]
        inside = ((y >= 0) & (y < high))[:, :, None] & ((x >= 0) & (x < wide))[:, None]
        return torch.where(inside, y[:, :, None] * wide + x[:, None], high * wide).flatten(1)


def layer_of(module: nn.Module) -> Layer | None:
    """How a module reads; None where it is no linear layer, and no convolution without groups and with zeros around its
    map."""
    if isinstance(module, nn.Linear):
        return Layer((1, 1), (1, 1), (0, 0), (1, 1), True, module.bias is not None)
    if not isinstance(module, nn.Conv1d | nn.Conv2d) or module.groups > 1 or module.padding_mode != "zeros":
        return None
    kernel, stride, dilation = (_pair(n) for n in (module.kernel_size, module.stride, module.dilation))
    if isinstance(module.padding, str):
        if module.padding == "same" and any(far * (k - 1) % 2 for k, far in zip(kernel, dilation, strict=True)):
            return None
        same = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
        padding = same if module.padding == "same" else (0, 0)
    else:
        padding = _pair(module.padding, 0)
    return Layer(kernel, stride, padding, dilation, False, module.bias is not None)


def _pair(numbers: tuple[int, ...], default: int = 1) -> Pair:
    return (numbers[0], numbers[1] if len(numbers) > 1 else default)


def picked(count: int) -> Tensor:
    """Some of so many positions, evenly."""
    return torch.arange(min(count, POSITIONS)) * count // min(count, POSITIONS)


def read_map(columns: Tensor, made: Pair, reader: Layer, read: Tensor, positions: int) -> Tensor | None:
    """What the columns of a writer are where a reader reads, (N, columns, height, width).

    What lies between is taken for nothing where the sizes agree, and otherwise for means over the map, as pooling makes
    them; the line search on the true loss puts the scale right.

    Args:
        columns: (N, columns, positions of the writer). made: height and width of what it makes.
        read: the map that the reader reads. positions: of its columns that a channel has: those of a flattened map.

    Returns:
        None where the sizes say nothing of what lies between.
    """
    maps: Tensor = columns.unflatten(2, made)
    if positions > 1:  # a flattened map with the sides of what was made, or smaller ones in the same ratio
        sides = next(
            ((h, positions // h) for h in range(1, positions + 1)
             if positions % h == 0 and h * made[1] == positions // h * made[0]),
            None,
        )  # fmt: skip
        if sides is None or read.size(2) * read.size(3) > 1:
            return None
    else:
        sides = (read.size(2), read.size(3))
    if sides == made:
        return maps
    if reader.linear and positions == 1 and sides[0] * sides[1] != 1:
        return columns.unflatten(2, sides) if sides[0] * sides[1] == columns.size(2) else None
    return F.adaptive_avg_pool2d(maps, sides)
