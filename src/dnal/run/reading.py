"""Reading files that somebody else may have made: ordinary ones of the folder itself, no larger than they may be."""

from __future__ import annotations

import os
import stat
from io import BufferedReader
from pathlib import Path

from dnal.errors import UserError

REMEDY = "restore it or run `dnal learn` again"


def ordinary(path: Path, largest: int | None = None) -> int:
    """The size in bytes of an ordinary file.

    Raises:
        UserError: there is none, it is a link, a folder, a pipe or a device, or it is larger than ``largest`` bytes.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); {REMEDY}.") from None
    return _checked(path, status, largest)


def opened(path: Path) -> BufferedReader:
    """An ordinary file, open for reading.

    Raises:
        UserError: as :func:`ordinary`.
    """
    ordinary(path)
    # Between that look and this one the file may have become another: a link is not followed, a pipe not waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read ({error.strerror}); {REMEDY}.") from None
    try:
        _checked(path, os.fstat(file.fileno()), None)
    except UserError:
        file.close()
        raise
    return file


def content(path: Path, largest: int) -> bytes:
    """All bytes of an ordinary file.

    Raises:
        UserError: as :func:`ordinary`.
    """
    ordinary(path, largest)
    with opened(path) as file:
        return file.read(largest)


def _checked(path: Path, status: os.stat_result, largest: int | None) -> int:
    if stat.S_ISLNK(status.st_mode):
        raise UserError(f"'{path}' is a link, and a run holds its files itself; copy the file there.")
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"'{path}' is no ordinary file; {REMEDY}.")
    if largest is not None and status.st_size > largest:
        raise UserError(
            f"'{path}' has {status.st_size:,} bytes, more than such a file of a run can have ({largest:,}); {REMEDY}."
        )
    return status.st_size
