"""Clean images in files: arrays in an .npz file, or a folder of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnal.base.errors import UserError
from dnal.data.images.image_file import ENDINGS, read_image
from dnal.data.npz import read_arrays
from dnal.data.restoration.raw import RawPhotographs

ARRAYS = ("clean_train", "clean_test")
VAL = "clean_val"
PARTS = ("train", "test", "val")
MOST_IN_ALL = 2**31
"""Of all pictures of a folder together, which are held in memory."""


def holds_pictures(folder: Path) -> bool:
    """Whether a folder has pictures of its own, and no folders of classes."""
    try:
        entries = list(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return False
    return any(_is_picture(entry) for entry in entries) and not any(entry.is_dir() for entry in entries)


def read_photographs(path: Path) -> RawPhotographs:
    """The clean images of a file or folder.

    Raises:
        UserError: a part is missing, a picture cannot be read, or they take more memory than is allowed.
    """
    if not path.is_dir():
        found = read_arrays(path, ARRAYS, (VAL,))
        return RawPhotographs(found[ARRAYS[0]], found[ARRAYS[1]], found.get(VAL))
    taken = 0
    parts: dict[str, list[NDArray[np.generic]]] = {}
    for part in PARTS:
        if part == "val" and not (path / part).is_dir():
            continue
        pictures = sorted(entry for entry in _entries(path / part) if _is_picture(entry))
        if not pictures:
            raise UserError(
                f"'{path / part}' holds no pictures ({', '.join(sorted(ENDINGS))}); put clean images into it."
            )
        parts[part] = []
        for picture in pictures:
            image = np.asarray(read_image(picture, "RGB"))
            if image.dtype != np.uint8:
                raise UserError(f"'{picture}' has 16 bits, and clean images have 8; save it with 8 bits.")
            taken += image.size
            if taken > MOST_IN_ALL:
                raise UserError(f"the pictures in '{path}' have more than {MOST_IN_ALL:,} numbers; give fewer.")
            parts[part].append(image)
    return RawPhotographs(parts["train"], parts["test"], parts.get("val"))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise UserError(f"'{folder}' cannot be read ({error.strerror}); put clean images into it.") from None


def _is_picture(entry: Path) -> bool:
    return entry.suffix.lower() in ENDINGS and not entry.name.startswith(".") and entry.is_file()
