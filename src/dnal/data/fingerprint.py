"""Telling whether data are the same as before."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from torch import Tensor
from torch.utils._pytree import tree_leaves

from dnal.base.errors import UserError
from dnal.base.tensors import raw
from dnal.data.dataset import Dataset

WHOLE = 2**15
"""Bytes up to which all of a file count."""
BLOCK, BETWEEN = 2**12, 2
"""Of a larger file: its first and its last block count, and so many blocks between them."""


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of all targets, and of the examples.

    Of examples in memory everything counts. Of image files the names below the data's folder, their order and sizes
    count, and their content: all of it up to ``WHOLE`` bytes (32 KiB), and of a larger file four blocks of ``BLOCK``
    bytes (4 KiB), the first, the last and two whose places depend on the file's name and size. So a file that was
    added, removed, renamed, moved to another class, encoded again or cut is noticed in any case, and so is every change
    of a small one. A change within a large file that leaves its size and these blocks as they are is not noticed, such
    as some pixels of an uncompressed picture. (A PNG ends with a checksum of its pixels.) Times do not count: copying
    changes them, and tools set them. Where the data lie does not count either.

    Raises:
        UserError: a file that cannot be read.
    """
    digest = hashlib.sha256()
    for part in (dataset.train, dataset.val, dataset.test):
        for tensor in tree_leaves((part.y, getattr(part, "x", None))):
            if isinstance(tensor, Tensor):
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(raw(tensor))
        for name in getattr(part, "files", ()):
            digest.update(_of_file(part.root, name))  # type: ignore[attr-defined]
    return digest.hexdigest()


def _of_file(root: Path, name: str) -> bytes:
    """SHA-256 of the name below ``root``, the size and the content of a file, or a sample of it."""
    encoded, file = os.fsencode(name), f"{root}{os.sep}{name}"
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - a Path for each of a million files takes seconds
            size = os.fstat(opened.fileno()).st_size
            digest = hashlib.sha256(b"%d %d " % (len(encoded), size) + encoded)
            if size <= WHOLE:
                digest.update(opened.read(WHOLE))
            else:
                for place in _places(digest.digest(), size):
                    opened.seek(place)
                    digest.update(opened.read(BLOCK))
    except OSError as error:
        raise UserError(f"{file!r} cannot be read ({error.strerror}); let it be read, or remove it") from None
    return digest.digest()


def _places(key: bytes, size: int) -> list[int]:
    """Where the blocks of a large file begin, the ends first; those between depend on ``key``."""
    last = size - BLOCK
    between = [int.from_bytes(key[8 * n : 8 * n + 8], "big") % last for n in range(BETWEEN)]
    return [0, last, *between]
