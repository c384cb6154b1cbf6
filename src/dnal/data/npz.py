"""Any .npz file with x_train, y_train, x_test and y_test."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from dnal.base.errors import UserError
from dnal.data.arrays import RawArrays

KEYS = ("x_train", "y_train", "x_test", "y_test")


def read_npz(path: Path) -> RawArrays:
    """Images x: uint8 or floats, (N, H, W), (N, H, W, C) or (N, C, H, W); labels y: whole numbers (N,).

    Raises:
        UserError: no such file, not an npz file, a key missing, or Python objects inside.
    """
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}; give the path of an .npz file with {', '.join(KEYS)}")
    if not zipfile.is_zipfile(path):
        raise UserError(f"{str(path)!r} is not an npz file; write one with numpy.savez(path, x_train=..., ...)")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file.files]
            if missing:
                raise UserError(f"{str(path)!r} has no {', '.join(missing)}; it must hold {', '.join(KEYS)}")
            x_train, y_train, x_test, y_test = (_numbers(file, key, path) for key in KEYS)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise UserError(f"{str(path)!r} is damaged ({error}); write it again with numpy.savez") from error
    return RawArrays(x_train, y_train, x_test, y_test)


def _numbers(file: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    try:
        array = file[key]
    except ValueError as error:
        raise UserError(
            f"{key} in {str(path)!r} holds Python objects or is damaged; "
            "save it as an array of numbers, all images of one size"
        ) from error
    # A member that is no .npy file comes back as bytes.
    if not isinstance(array, np.ndarray):
        raise UserError(f"{key} in {str(path)!r} is not an array; write the file with numpy.savez")
    return array
