"""Writing a file whole or not at all, whatever ends the process meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from dnal.errors import UserError


def temporary_of(path: Path) -> Path:
    """Where a file grows until it is whole."""
    return path.with_name(f"{path.name}.tmp")


def atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Lets ``write`` fill a temporary file, and puts that in the place of ``path`` once it is on the disk.

    Raises:
        UserError: where the disk refuses; what was at ``path`` before is there still.
    """
    temporary = temporary_of(path)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        reason = refusal(error)
        if reason is None:
            raise
        raise UserError(f"'{path}' cannot be written ({reason}); free the place or choose another.") from error


def write_text(path: Path, text: str) -> None:
    """A text file, UTF-8, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    atomic(path, write)


def refusal(error: BaseException) -> str | None:
    """What the disk said, if it was the disk."""
    return error.strerror or str(error) if isinstance(error, OSError) else None


def _sync_folder(folder: Path) -> None:
    """The new name itself is on the disk only when its folder is."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
