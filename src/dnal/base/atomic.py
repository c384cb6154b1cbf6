"""Writing a file whole or not at all, whatever ends the process meanwhile, and never through a link.

A file grows under a name that cannot be known before, made for it alone, and takes its own name when it is on the disk.
So a folder that is anybody's cannot turn a write elsewhere, and two processes never write into one another's file.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from dnal.base.errors import UserError

_TEMPORARY = re.compile(r"(.+)\.[0-9a-f]{16}\.tmp")
_EXCLUSIVE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def write_bytes(path: Path, data: bytes, *, before: Path | None = None) -> None:
    """Writes a file: all of it, or what was there stays; ``data`` is all that it holds. The rest is as of
    :func:`write_through`."""
    write_through(path, lambda file: file.write(data), before=before)


def write_through(path: Path, write: Callable[[BinaryIO], object], *, before: Path | None = None) -> None:
    """Writes a file piece by piece: all of it, or what was there stays.

    Args:
        path: the file; a link there is replaced, not followed.
        write: writes all of it into the open file that it is given.
        before: where the file that was at ``path`` goes; it is lost otherwise.

    Raises:
        UserError: where the disk refuses.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with os.fdopen(os.open(temporary, _EXCLUSIVE, 0o666), "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if before is not None and os.path.lexists(path):
                path.replace(before)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """A text file, UTF-8, as :func:`write_bytes`."""
    write_bytes(path, text.encode())


def append_text(path: Path, text: str) -> None:
    """Adds to the end of an ordinary text file, which is made if there is none.

    Raises:
        UserError: where the disk refuses, or a link or something else stands there.
    """
    try:
        with open_to_append(path) as file:
            file.write(text)
    except OSError as error:
        raise _unwritable(path, error) from error


def open_to_append(path: Path) -> TextIO:
    """An ordinary text file, UTF-8, open at its end; it is made if there is none.

    Raises:
        UserError: where the disk refuses, or a link or something else stands there.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise _unwritable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"'{path}' is no ordinary file; move it away.")
    return os.fdopen(descriptor, "a", encoding="utf-8")


def temporary_files(folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """What writes of these files of a folder left behind when they were killed."""
    known = set(names)
    with suppress(OSError):
        for entry in folder.iterdir():
            if target_of(entry.name) in known:
                yield entry


def target_of(name: str) -> str | None:
    """The name of the file that a temporary file was to become; None for any other name."""
    found = _TEMPORARY.fullmatch(name)
    return found and found[1]


def refusal(error: BaseException) -> str | None:
    """What the disk said, if it was the disk."""
    return error.strerror or str(error) if isinstance(error, OSError) else None


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(f"'{path}' cannot be written ({refusal(error)}); free the place or choose another.")


def _sync_folder(folder: Path) -> None:
    """The new name itself is on the disk only when its folder is. The file is there in any case."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        warnings.warn(
            f"the disk does not say that '{folder}' is safe ({refusal(error)}); what was written there last may be "
            "lost if the machine loses its power now.",
            stacklevel=3,
        )
