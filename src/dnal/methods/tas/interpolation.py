"""Channel-wise interpolation: a feature map of some channels as one of another number of channels."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolation(channels: int, wanted: int, device: torch.device | str = "cpu") -> Tensor:
    """The matrix (wanted, channels) of adaptive average pooling in one dimension: row i is the mean of the channels
    from floor(i channels / wanted) to ceil((i + 1) channels / wanted), the last one excluded.

    Source: arXiv 1905.09717, section 3.1 (CWI).
    """
    row, column = torch.arange(wanted, device=device)[:, None], torch.arange(channels, device=device)
    first, end = row * channels // wanted, -(-(row + 1) * channels // wanted)
    return ((first <= column) & (column < end)).float() / (end - first)


def interpolated(x: Tensor, wanted: int) -> Tensor:
    """x (N, channels, ...) with ``wanted`` channels instead, fewer or more.

    A product with a matrix, because pooling over channels is several times slower, and not deterministic on a GPU.
    """
    if x.size(1) == wanted:
        return x
    return torch.einsum("oc,nc...->no...", interpolation(x.size(1), wanted, x.device).to(x.dtype), x)
