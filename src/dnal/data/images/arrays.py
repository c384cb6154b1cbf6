"""Data sets held in memory as arrays: checks, splits, resizing, and ready batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dnal.base.errors import UserError
from dnal.data.dataset import Batch, Dataset
from dnal.data.images.augmentation import Augmentation, augment
from dnal.data.images.resize import in_chunks, match_channels, resize
from dnal.data.kind import Sizes
from dnal.data.labels import check_labels, classes_told
from dnal.data.splits import limited, validation_split

MOST_CHANNELS = 4


@dataclass(frozen=True)
class RawArrays:
    """Images and labels as a source delivers them: x (N, H, W), (N, H, W, C) or (N, C, H, W), y (N,).

    ``augmentation`` None means the usual one for the images' shape.
    """

    x_train: NDArray[np.generic]
    y_train: NDArray[np.generic]
    x_test: NDArray[np.generic]
    y_test: NDArray[np.generic]
    class_names: tuple[str, ...] | None = None
    augmentation: Augmentation | None = None


@dataclass(frozen=True, eq=False)
class ArrayPart:
    """Images in memory: x uint8 or float32 (N, C, H, W), y int64 (N,).

    ``size`` (H, W) enlarges every batch; None leaves it as it is.
    """

    x: Tensor
    y: Tensor
    mean: Tensor
    std: Tensor
    augmentation: Augmentation | None = None
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor, seed: int) -> Batch:
        x = self.x.index_select(0, indices)
        if self.augmentation is not None:
            x = augment(x, self.augmentation, torch.Generator().manual_seed(seed))
        x = _as_floats(x).sub_(self.mean).div_(self.std)  # in place: x is this batch's own
        if self.size is not None:
            x = F.interpolate(x, size=self.size, mode="bilinear", align_corners=False)
        return x.contiguous(), self.y[indices]


def from_arrays(
    name: str,
    raw: RawArrays,
    *,
    input_shape: Sizes | None = None,
    classes: int | None = None,
    limit_train: int | None = None,
    seed: int = 0,
    augment: bool = True,
) -> Dataset:
    """A data set from arrays in memory.

    8-bit images are taken as 0 to 1, floats as they are; both are normalised by the training part's mean and standard
    deviation per channel. 10 % of the training data, stratified and the same in every run, become the validation part.
    Smaller sizes are made once; larger ones batch by batch, since a whole enlarged set would fill the memory.

    Args:
        name: how to call it.
        raw: the arrays.
        input_shape: (C, H, W) asked for; grey becomes colour and colour grey.
        classes: number of classes; None means the largest label plus one, if every label below it occurs.
        limit_train: a stratified subset of so many training images, drawn from ``seed``.
        seed: of that subset; validation and test parts do not depend on it.
        augment: whether training batches are augmented.

    Raises:
        UserError: anything wrong with images, labels or numbers, in one sentence.
    """
    x_train, x_test = as_images(raw.x_train, "x_train"), as_images(raw.x_test, "x_test")
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise UserError(
            f"x_train and x_test hold different images ({_describe(x_train)} and {_describe(x_test)}); make them alike"
        )
    if classes is None and raw.class_names is not None:
        classes = len(raw.class_names)
    y_train = check_labels(raw.y_train, images=len(x_train), classes=classes, what="y_train")
    y_test = check_labels(raw.y_test, images=len(x_test), classes=classes, what="y_test")
    if classes is None:
        classes = classes_told(y_train, y_test)
    names = raw.class_names or ()
    names += tuple(str(c) for c in range(len(names), classes))
    if len(y_train) < 2:
        raise UserError("x_train holds a single image; at least two are needed, for a training and a validation part")

    train, val = validation_split(y_train)
    train = limited(train, y_train, limit_train, seed)
    side = int(x_train.shape[-2])
    shape = input_shape or (int(x_train.shape[1]), side, int(x_train.shape[3]))
    size = (shape[1], shape[2])
    enlarge = size[0] > side or size[1] > x_train.shape[3]
    policy = (raw.augmentation or usual_augmentation(x_train)) if augment else None

    def fitted(x: Tensor) -> Tensor:
        x = match_channels(x, shape[0])
        return x if enlarge else resize(x, size)

    x_train, x_test = fitted(x_train), fitted(x_test)
    if policy is not None:
        policy = policy.scaled(side, int(x_train.shape[-2]))
    larger = size if enlarge else None
    x_of_train = x_train[train]
    mean, std = mean_and_std(x_of_train)
    return Dataset(
        name=name,
        classes=classes,
        class_names=names,
        input_shape=shape,
        train=ArrayPart(x_of_train, y_train[train], mean, std, policy, larger),
        val=ArrayPart(x_train[val], y_train[val], mean, std, None, larger),
        test=ArrayPart(x_test, y_test, mean, std, None, larger),
        mean=tuple(mean.flatten().tolist()),
        std=tuple(std.flatten().tolist()),
    )


def usual_augmentation(x: Tensor) -> Augmentation:
    """For images (N, C, H, W): shifts by an eighth of the side, and flips for colour images of at least 16 pixels."""
    _, channels, height, width = x.shape
    return Augmentation(pad=max(1, height // 8), flip=channels >= 3 and min(height, width) >= 16)


def mean_and_std(x: Tensor) -> tuple[Tensor, Tensor]:
    """Per channel of (N, C, H, W), each (1, C, 1, 1); 1 for a constant channel; 8-bit counts as 0 to 1."""
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for chunk in in_chunks(x):
        values = _as_floats(chunk).double()
        total += values.sum((0, 2, 3))
        squares += values.square().sum((0, 2, 3))
    count = x.numel() // x.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > 1e-6, std, torch.ones_like(std))
    return mean.float().view(1, -1, 1, 1), std.float().view(1, -1, 1, 1)


def as_images(array: NDArray[np.generic], what: str) -> Tensor:
    """Images as uint8 or float32 (N, C, H, W).

    Three dimensions are grey (N, H, W). Of four, the last is the channels if it is at most 4, else the second.

    Raises:
        UserError: another type or shape, no images, or a value that is not finite.
    """
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise UserError(
            f"{what} must be uint8 or floating point, not {array.dtype}; give numbers from 0 to 255 as uint8, or "
            "from 0 to 1 as float32"
        )
    if array.ndim not in (3, 4):
        raise UserError(f"{what} must be images of shape (N, H, W), (N, H, W, C) or (N, C, H, W), not {array.shape}")
    if array.size == 0:
        raise UserError(f"{what} is empty (shape {array.shape}); it must hold at least one image")
    if array.ndim == 3:
        array = array[:, None]
    elif array.shape[-1] <= MOST_CHANNELS:
        array = array.transpose(0, 3, 1, 2)
    elif array.shape[1] > MOST_CHANNELS:
        raise UserError(
            f"{what} of shape {array.shape} has no channel dimension of at most {MOST_CHANNELS}; "
            "give (N, H, W, C) or (N, C, H, W)"
        )
    if array.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(array))
    images = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    finite = images.isfinite().flatten(1).all(1)
    if not finite.all():
        first = int((~finite).nonzero()[0])
        raise UserError(
            f"{what} has NaN or infinite values in {int((~finite).sum())} images, first in image {first}; "
            "remove or mend them"
        )
    return images


def _as_floats(x: Tensor) -> Tensor:
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def _describe(x: Tensor) -> str:
    channels, height, width = x.shape[1:]
    return f"{channels}x{height}x{width} {str(x.dtype).removeprefix('torch.')}"
