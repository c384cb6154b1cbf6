"""Handwritten digits that ship with scikit-learn: 1,797 grey images of 8x8, no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dnal.data.images.arrays import RawArrays
from dnal.data.images.augmentation import Augmentation
from dnal.data.splits import stratified_sample, without

TEST_IMAGES = 540
TEST_SEED = 1797


def read_digits(root: Path | None, download: bool = True) -> RawArrays:
    """Images in 0 to 1 (the set counts 0 to 16); 540 of them, stratified and always the same, are the test set.

    Shifts by one pixel, no flips: a mirrored digit is none. ``root`` and ``download`` are not needed.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x, y = (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)
    test = stratified_sample(torch.from_numpy(y), TEST_IMAGES, TEST_SEED)
    train = without(len(y), test)
    return RawArrays(
        x[train.numpy()],
        y[train.numpy()],
        x[test.numpy()],
        y[test.numpy()],
        tuple(str(digit) for digit in range(10)),
        Augmentation(pad=1),
    )
