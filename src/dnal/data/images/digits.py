"""Handwritten digits that ship with scikit-learn: 1,797 grey images of 8x8, no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dnal.base.place import folder_of
from dnal.data.images.arrays import RawArrays
from dnal.data.images.augmentation import Augmentation
from dnal.data.splits import stratified_sample, without

TEST_IMAGES = 540
TEST_SEED = 1797


def read_digits(root: Path | None, download: bool = True) -> RawArrays:
    """Images in 0 to 1 (the set counts 0 to 16); 540 of them, stratified and always the same, are the test set.

    Shifts by one pixel, no flips: a mirrored digit is none. ``root`` and ``download`` are not needed.
    """
    rows = _rows()  # (1797, 64 pixels and the digit)
    x, y = (rows[:, :-1].reshape(-1, 8, 8) / 16).astype(np.float32), rows[:, -1].astype(np.int64)
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


def _rows() -> NDArray[np.float64]:
    """What scikit-learn ships, from its file: its own reader imports half a second of what nothing here needs."""
    package = folder_of("sklearn")
    file = None if package is None else package / "datasets" / "data" / "digits.csv.gz"
    if file is not None and file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rows: NDArray[np.float64] = np.column_stack([bunch.data, bunch.target])
    return rows
