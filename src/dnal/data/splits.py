"""Stratified choices among labelled examples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dnal.base.errors import UserError

VALIDATION_SHARE = 0.1
# A constant of the data, like the test set: runs with other seeds must stay comparable on the same validation images.
VALIDATION_SEED = 20_210_303


def stratified_sample(y: Tensor, count: int, seed: int) -> Tensor:
    """Sorted indices of ``count`` of the labels ``y`` (N,), each class in its proportion up to rounding."""
    labels = y.numpy()
    classes, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes / len(labels)
    quota = np.floor(exact).astype(int)
    # The largest remainders get what rounding down left over; a stable sort makes ties go to the smaller class.
    leftover = np.argsort(-(exact - quota), kind="stable")[: count - int(quota.sum())]
    quota[leftover] += 1
    # RandomState, because its stream is promised never to change, and these choices should not either.
    random = np.random.RandomState(_small(seed))
    chosen = [random.permutation(np.flatnonzero(labels == c))[:q] for c, q in zip(classes, quota, strict=True)]
    return torch.from_numpy(np.sort(np.concatenate(chosen)).astype(np.int64))


def _small(seed: int) -> int | list[int]:
    """A seed as RandomState takes it, with 32 bits: a larger one, or a negative one, as two numbers of 32."""
    seed %= 2**64
    return seed if seed < 2**32 else [seed % 2**32, seed >> 32]


def is_mask_of_numbers(given: NDArray[np.generic], examples: int) -> bool:
    """Whether an array that names examples by their numbers is a mask that was written as zeros and ones: read as
    numbers it would name two examples."""
    ones = given.dtype.kind in "iu" and given.shape == (examples,) and examples > 2
    return ones and bool(((given == 0) | (given == 1)).all())


def without(total: int, indices: Tensor) -> Tensor:
    """Sorted indices of ``range(total)`` that are not in ``indices``."""
    keep = torch.ones(total, dtype=torch.bool)
    keep[indices] = False
    return keep.nonzero().flatten()


def validation_split(y: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (training part, validation part) of labels ``y`` (N,): 10 %, stratified, the same in every run."""
    held_out = stratified_sample(y, max(1, round(VALIDATION_SHARE * len(y))), VALIDATION_SEED)
    return without(len(y), held_out), held_out


def limited(train: Tensor, y: Tensor, limit: int | None, seed: int, several: str = "images") -> Tensor:
    """The ``limit`` stratified indices of ``train`` that remain; all of them for None.

    Raises:
        UserError: a limit that is not from 1 to the number of training examples.
    """
    if limit is None:
        return train
    if not 0 < limit <= len(train):
        raise UserError(f"limit_train must be from 1 to the {len(train)} training {several}, not {limit}")
    return train[stratified_sample(y[train], limit, seed)]
