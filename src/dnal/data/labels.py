"""Labels must be whole numbers from 0 to classes - 1, one per image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dnal.base.errors import UserError


def check_labels(
    labels: ArrayLike | Tensor, *, images: int, classes: int | None = None, what: str = "labels"
) -> Tensor:
    """The labels as int64 (N,).

    Args:
        labels: whole numbers, (N,).
        images: how many images there are.
        classes: the number of classes, or None if the labels tell.
        what: how to call them in a message.

    Raises:
        UserError: not whole numbers, not one per image, negative, or not below ``classes``.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise UserError(f"{what} must be whole numbers from 0, not {array.dtype}; convert them with astype('int64')")
    if array.ndim != 1:
        raise UserError(f"{what} must be one number per image, shape (N,), not {array.shape}")
    if len(array) != images:
        raise UserError(f"{what} has {len(array)} labels for {images} images; there must be one per image")
    if len(array) and array.min() < 0:
        raise UserError(f"{what} has the negative label {array.min()}; labels count from 0")
    if classes is not None and len(array) and array.max() >= classes:
        raise UserError(
            f"{what} has the label {array.max()}, but {classes} classes go from 0 to {classes - 1}; "
            f"say at least {int(array.max()) + 1} classes"
        )
    return torch.from_numpy(array.astype(np.int64))
