"""Images in an .npz file with x_train, y_train, x_test and y_test."""

from __future__ import annotations

from pathlib import Path

from dnal.data.images.arrays import RawArrays
from dnal.data.npz import read_arrays

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path) -> RawArrays:
    """Images x: uint8 or floats, (N, H, W), (N, H, W, C) or (N, C, H, W); labels y: whole numbers (N,).

    Raises:
        UserError: as :func:`dnal.data.npz.read_arrays`.
    """
    found = read_arrays(path, KEYS)
    return RawArrays(found["x_train"], found["y_train"], found["x_test"], found["y_test"])
