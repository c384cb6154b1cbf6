"""Spectral norms: of matrices, and of the linear map that a convolution is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MOST = 2**22
"""Complex numbers that are decomposed at once."""


def spectral_norm(matrix: Tensor) -> float:
    """The largest singular value of a matrix (M, N).

    Examples:
        >>> import torch
        >>> spectral_norm(torch.tensor([[3.0, 0.0], [0.0, -4.0]]))
        4.0
    """
    return float(torch.linalg.matrix_norm(matrix, ord=2)) if matrix.numel() else 0.0


def convolution_norm(
    kernel: Tensor,
    sizes: Sequence[int],
    *,
    stride: Sequence[int] | int = 1,
    dilation: Sequence[int] | int = 1,
    groups: int = 1,
) -> float:
    """The largest singular value of a convolution over maps of these sizes that goes on at the other edge (circular).

    The Fourier transform of such a convolution has a block for each frequency, (outputs, inputs), or, with a stride s,
    one for the frequencies that become the same, (outputs, inputs times s), over the root of s. Source: Sedghi, Gupta
    and Long, arXiv 1805.10408, for a stride of 1. With zeros at the edges, as most networks have them, the norm differs
    a little: it is the same map without the sums over the edge.

    Args:
        kernel: (outputs, inputs / groups, *kernel sizes). sizes: of the input's map, a number for each kernel size,
            which are taken up to the next multiple of the stride. stride, dilation: of the convolution, a number or one
            for each size. groups: of channels.

    Raises:
        ValueError: other numbers of sizes than the kernel has.

    Examples:
        >>> import torch
        >>> round(convolution_norm(torch.ones(1, 1, 3, 3), (8, 8)), 6)  # the sum over nine pixels of a constant map
        9.0
    """
    dims = kernel.dim() - 2
    steps, spaces = _each(stride, dims), _each(dilation, dims)
    if not len(sizes) == len(steps) == len(spaces) == dims:
        raise ValueError(f"a kernel of {dims} dimensions, and {len(sizes)} sizes, {len(steps)} steps.")
    whole = [math.ceil(size / step) * step for size, step in zip(sizes, steps, strict=True)]
    blocks = _transformed(kernel, whole, spaces)
    outputs, inputs = kernel.shape[:2]
    # A frequency k of the map becomes k modulo (size / step) in the result: frequencies step times apart meet.
    folded = blocks.view(
        outputs, inputs, *[n for size, step in zip(whole, steps, strict=True) for n in (step, size // step)]
    )
    meeting, left = range(2, 2 + 2 * dims, 2), range(3, 3 + 2 * dims, 2)
    found = folded.permute(*left, 0, 1, *meeting).reshape(-1, groups, outputs // groups, inputs * math.prod(steps))
    flat = found.flatten(0, 1)
    rows = max(1, MOST // max(1, flat[0].numel()))
    largest = max(float(torch.linalg.matrix_norm(some, ord=2).max()) for some in flat.split(rows))
    return largest / math.sqrt(math.prod(steps))


def _transformed(kernel: Tensor, sizes: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """The kernel's Fourier transform over maps of these sizes, (outputs, inputs, *sizes); taps beyond an edge of a map
    go on at the other."""
    spread = kernel.double()
    for dim, (size, space) in enumerate(zip(sizes, dilation, strict=True), start=2):
        places = (torch.arange(kernel.shape[dim]) * space) % size
        shape = [*spread.shape]
        shape[dim] = size
        spread = torch.zeros(shape, dtype=spread.dtype).index_add(dim, places, spread)
    found: Tensor = torch.fft.fftn(spread, dim=tuple(range(2, kernel.dim())))
    return found


def _each(value: Sequence[int] | int, dims: int) -> list[int]:
    return [value] * dims if isinstance(value, int) else list(value)
