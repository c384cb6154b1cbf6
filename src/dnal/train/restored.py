"""How near restored images are to the clean ones, of each image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dnal.train.evaluate import over_batches
from dnal.train.loader import Loader

MOST_DB = 100.0
"""Of an image that is restored exactly."""
LEAST_SIDE = 11
"""Pixels of an image of which SSIM says something."""


def psnr_of_each(restored: Tensor, clean: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of each image, in dB, (N,): 10 log10(1 / mean squared error), at most 100.

    Args:
        restored: (N, C, H, W), whose numbers below 0 and above 1 are taken for black and white. clean: from 0 to 1.

    Examples:
        >>> psnr_of_each(torch.full((1, 1, 8, 8), 0.6), torch.full((1, 1, 8, 8), 0.5)).round().tolist()
        [20.0]
    """
    # Imported here: it takes seconds, and a run is read without it.
    from torchmetrics.functional.image import peak_signal_noise_ratio

    found: Tensor = peak_signal_noise_ratio(
        restored.float().clamp(0, 1), clean.float(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return found.clamp(max=MOST_DB)


def ssim_of_each(restored: Tensor, clean: Tensor) -> Tensor:
    """The structural similarity of each image, 1 at best, (N,); arguments as of :func:`psnr_of_each`, of 11 pixels and
    more on each side.

    Source: Wang et al., IEEE Transactions on Image Processing 13 (2004), a Gaussian window of 1.5 pixels,
    over all pixels of an image, which is mirrored at its borders.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    found: Any = structural_similarity_index_measure(
        restored.float().clamp(0, 1), clean.float(), data_range=1.0, reduction="none"
    )
    return found.reshape(-1)  # type: ignore[no-any-return]


def psnr(network: nn.Module, loader: Loader) -> float:
    """The mean over images of the peak signal-to-noise ratio, in dB; in eval mode, the network's mode is restored."""
    each: list[Tensor] = []
    over_batches(network, loader, lambda restored, clean: each.append(psnr_of_each(restored, clean).cpu()))
    return float(torch.cat(each).double().mean()) if each else float("nan")
