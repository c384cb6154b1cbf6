"""Other sizes and channels for whole sets of images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dnal.base.errors import UserError

# Values that are floats at a time: whole sets as floats would take four times their memory.
CHUNK_VALUES = 2**23
LUMA = (0.299, 0.587, 0.114)


def in_chunks(x: Tensor) -> tuple[Tensor, ...]:
    """Images (N, C, H, W) a few at a time."""
    chunks: tuple[Tensor, ...] = torch.split(x, max(1, CHUNK_VALUES // max(1, x[0].numel())))
    return chunks


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W), 8-bit or float, at ``size`` (H, W) in their own type.

    Whole factors downwards are averages of blocks; everything else is bilinear with antialiasing.
    """
    if tuple(x.shape[-2:]) == size:
        return x
    return torch.cat([_resize_floats(chunk.float(), size, x.dtype) for chunk in in_chunks(x)])


def _resize_floats(x: Tensor, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    (height, width), (new_height, new_width) = x.shape[-2:], size
    if height % new_height == 0 and width % new_width == 0:
        out = F.avg_pool2d(x, (height // new_height, width // new_width))
    else:
        out = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    return out.round().clamp(0, 255).to(dtype) if dtype == torch.uint8 else out.to(dtype)


def match_channels(x: Tensor, channels: int) -> Tensor:
    """Images (N, C, H, W) with ``channels``: grey repeated to colour, or colour weighted to grey (ITU-R 601 luma).

    Raises:
        UserError: any other change.
    """
    own = x.shape[1]
    if own == channels:
        return x
    if own == 1:
        return x.repeat(1, channels, 1, 1)
    if own == 3 and channels == 1:
        weights = torch.tensor(LUMA).view(1, 3, 1, 1)
        grey = torch.cat([(chunk.float() * weights).sum(1, keepdim=True) for chunk in in_chunks(x)])
        return grey.round().to(x.dtype) if x.dtype == torch.uint8 else grey.to(x.dtype)
    raise UserError(
        f"these images have {own} channels and cannot become {channels}; ask for an input of {own} channels"
    )
