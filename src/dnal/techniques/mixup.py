"""Mixup and CutMix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from dnal.base.errors import UserError
from dnal.base.options import option
from dnal.train.step import Step
from dnal.train.technique import Technique


@dataclass
class Mixup(Technique):
    """Mixup, CutMix, or one of both by lot, of the images of a batch with those of the batch in reverse.

    x = l x_i + (1 - l) x_j (mixup), or a box of x_j in x_i (CutMix; l is the share of x_i), with l
    from Beta(alpha, alpha). The loss is l * loss(y_i) + (1 - l) * loss(y_j), so that any loss of a mean over the batch
    will do. Name it before what changes the loss further. Helps long trainings of large networks; over few epochs it
    costs accuracy. Sources: Zhang et al., arXiv 1710.09412; Yun et al., arXiv 1905.04899.
    """

    phases: ClassVar[tuple[str, ...]] = ("base", "retrain")

    alpha: float = option(0.2, "Of the Beta distribution of mixup; 0: no mixup.", least=0)
    cutmix_alpha: float = option(0.0, "Of that of CutMix; 0: no CutMix.", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.alpha and not self.cutmix_alpha:
            raise UserError("mixup with alpha=0 and cutmix_alpha=0 mixes nothing; give one of them.")

    def batch(self, batch: Any, step: Step) -> Any:
        inputs, targets = batch
        cut = bool(self.cutmix_alpha) and (not self.alpha or float(torch.rand(())) < 0.5)
        alpha = self.cutmix_alpha if cut else self.alpha
        mixed, self._share = mixed_images(inputs, float(torch.distributions.Beta(alpha, alpha).sample()), cut=cut)
        return mixed, targets

    def loss(self, value: Tensor, batch: Any, outputs: Any, step: Step) -> Tensor:
        others = tree_map_only(Tensor, lambda tensor: tensor.flip(0), batch[1])
        return self._share * value + (1 - self._share) * step.task_loss(outputs, others)


def mixed_images(images: Tensor, share: float, *, cut: bool) -> tuple[Tensor, float]:
    """Images (N, C, H, W), each mixed with that of the reversed batch, and the share of its own that is left.

    Args:
        share: of each image's own. cut: a box of the other image, whose area is nearly 1 - ``share``.
    """
    if not isinstance(images, Tensor) or not images.is_floating_point() or (cut and images.dim() != 4):
        raise UserError(
            "mixup is of batches whose inputs are one tensor of floating-point numbers, CutMix of images (N, C, H, W); "
            "leave it out."
        )
    others = images.flip(0)
    if not cut:
        return share * images + (1 - share) * others, share
    top, bottom, left, right = box(images.shape[2], images.shape[3], 1 - share)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])


def box(height: int, width: int, share: float) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box of this share of an image, around a random point; what would lie outside the
    image is cut off."""
    rows, columns = int(height * share**0.5), int(width * share**0.5)
    middle, centre = int(torch.randint(height, ())), int(torch.randint(width, ()))
    return (
        max(0, middle - rows // 2), min(height, middle + (rows + 1) // 2),
        max(0, centre - columns // 2), min(width, centre + (columns + 1) // 2),
    )  # fmt: skip
