"""What a network makes of each task: PSNR and SSIM, beside those of the degraded images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dnal.data.dataset import Chosen, Part
from dnal.data.restoration.photographs import PiecePart
from dnal.space.surgery.running import in_eval
from dnal.train.restored import LEAST_SIDE, psnr_of_each, ssim_of_each
from dnal.train.rows import device_of


class Quality(NamedTuple):
    """Of the images of a task.

    Attributes:
        images: how many. psnr: the mean over them, in dB. ssim: the mean; None for images of fewer than 11 pixels.
        degraded_psnr, degraded_ssim: of the degraded images, which is what a network reaches that does nothing.
    """

    images: int
    psnr: float
    ssim: float | None
    degraded_psnr: float
    degraded_ssim: float | None


def quality_by_task(network: nn.Module, part: Part, batch: int = 64) -> dict[str, Quality]:
    """PSNR and SSIM of each task, averaged over images, in eval mode; the network's mode is restored.

    Args:
        network: degraded images (N, C, H, W) -> restored ones, on any device. part: of a data set of the kind
            "restoration". batch: images at once.

    Examples:
        >>> photographs = dnal.data.load("photographs:tasks=noise25", input_shape=(3, 96, 96))
        >>> found = quality_by_task(torch.nn.Identity(), photographs.test)["noise25"]
        >>> found.images, round(found.psnr) == round(found.degraded_psnr)
        (8, True)
    """
    held, numbers, device = _pieces(part), torch.arange(len(part)), device_of(network)
    rows: list[Tensor] = []
    with in_eval(network), torch.inference_mode():
        for few in numbers.split(batch):
            degraded, clean = part.batch(few, 0)
            restored = network(degraded.to(device)).float().cpu()
            rows.append(torch.cat([_measured(restored, clean), _measured(degraded, clean)], 1))
    each = torch.cat(rows).double()
    found = {}
    for number, task in enumerate(held.tasks):
        own = each[part.y == number]
        if len(own):
            psnr, ssim, before, ssim_before = (None if value != value else value for value in own.mean(0).tolist())
            found[task] = Quality(len(own), psnr or 0.0, ssim, before or 0.0, ssim_before)
    return found


def _measured(images: Tensor, clean: Tensor) -> Tensor:
    """PSNR and SSIM of each image, (N, 2)."""
    psnr = psnr_of_each(images, clean)
    ssim = ssim_of_each(images, clean) if min(clean.shape[-2:]) >= LEAST_SIDE else torch.full_like(psnr, torch.nan)
    return torch.stack([psnr, ssim], 1)


def _pieces(part: Part) -> PiecePart:
    while isinstance(part, Chosen):
        part = part.part
    assert isinstance(part, PiecePart)
    return part
