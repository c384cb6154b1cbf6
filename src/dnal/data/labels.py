"""Labels must be whole numbers from 0 to classes - 1, one per image."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dnal.base.errors import UserError

LARGEST = 2**31 - 1


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
        UserError: not whole numbers, not one per image, negative, or not below ``classes``, or 2**31 and more.
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
    if len(array) and array.max() > LARGEST:
        raise UserError(
            f"{what} has the label {array.max()}, and labels are small numbers that count the classes from 0"
        )
    if classes is not None and len(array) and array.max() >= classes:
        raise UserError(
            f"{what} has the label {array.max()}, but {classes} classes go from 0 to {classes - 1}; "
            f"say at least {int(array.max()) + 1} classes"
        )
    return torch.from_numpy(array.astype(np.int64))


def classes_told(*labels: Tensor) -> int:
    """The number of classes that labels, each int64 (N,), tell: all classes from 0 to the largest label occur.

    Raises:
        UserError: one does not, as when the labels begin at 1, or one of them is wrong; it asks for the number.
    """
    found = torch.cat([one.unique() for one in labels]).unique()
    classes = int(found[-1]) + 1
    if len(found) == classes:
        return classes
    absent = int((found != torch.arange(len(found))).nonzero()[0])
    if absent == 0:
        raise UserError(
            f"the labels are {int(found[0])} to {classes - 1}, and labels count from 0; subtract {int(found[0])}, or "
            f"say that there are {classes} classes, of which some have no image"
        )
    raise UserError(
        f"the labels tell no number of classes: the largest is {classes - 1}, and {absent} does not occur; mend a "
        f"wrong label, or say that there are {classes} classes"
    )
