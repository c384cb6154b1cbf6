"""One process at a time works in a folder, or on a file; the system lets go for one that is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dnal.base.atomic import open_to_append, write_text
from dnal.base.errors import UserError

LOCK = "lock"
"""A file in a folder in which a process works; it goes when that ends, unless it was killed."""


def lock(file: IO[Any], *, wait: bool) -> bool:
    """Locks an open file until it is closed, also by the processes that inherited it.

    A file system without locks is taken for one on which no other process works.

    Args:
        wait: for the process that has it now.

    Returns:
        Whether it is ours.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def claimed(folder: Path, name: str, text: str, command: str) -> Iterator[None]:
    """A folder, made if need be, with a file that says what it is for; ours until the end.

    Where what is asked for is refused before anything else is written, nothing stays: the corrected command may have
    the folder.

    Args:
        name, text: of that file; one that is there stays. command: whose folder it is, as a user calls it.

    Raises:
        UserError: it cannot be written, or another process has it.
    """
    path = folder / name
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        begun = path.exists()
        if not begun:
            write_text(path, text)
        file = open_to_append(path)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written ({error.strerror}); choose another with --out.") from None
    with file:
        if not lock(file, wait=False):
            raise UserError(f"another `{command}` works in '{folder}'; wait for its end, or stop it.")
        try:
            yield
        except UserError:
            with suppress(OSError):
                if not begun and [entry.name for entry in folder.iterdir()] == [name]:
                    path.unlink()
                    if made:
                        folder.rmdir()
            raise


@dataclass
class _Held:
    """The open lock of a folder, and how often this process holds it."""

    file: IO[Any]
    times: int = 1


_held: dict[str, _Held] = {}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """A folder, which is there, for this process alone; it may hold it several times.

    Processes that it starts or forks do not inherit it: when this one is killed, the folder is free.

    Raises:
        UserError: it cannot be written, or another process works in it.
    """
    key = str(folder.absolute())
    if key in _held:
        _held[key].times += 1
    else:
        _held[key] = _Held(_taken(folder))
    try:
        yield
    finally:
        own = _held.get(key)  # none in a process that was forked meanwhile
        if own is not None:
            own.times -= 1
            if not own.times:
                del _held[key]
                if _stands(folder, own.file):
                    with suppress(OSError):
                        (folder / LOCK).unlink()
                own.file.close()


def holds(folder: Path) -> bool:
    """Whether this process has a folder for itself."""
    return str(folder.absolute()) in _held


def check_nobody_works(folder: Path) -> None:
    """Refuses a folder in which another process works.

    Raises:
        UserError: saying so.
    """
    path = folder / LOCK
    if holds(folder) or not os.path.lexists(path):
        return
    with open_to_append(path) as file:
        if not lock(file, wait=False):
            raise _occupied(folder)


def check_still_held(folder: Path) -> None:
    """Refuses to go on in a folder that this process held and that was taken away under it. One that it never held is
    not looked at.

    Raises:
        UserError: it was removed or moved, and perhaps another stands there now.
    """
    own = _held.get(str(folder.absolute()))
    if own is not None and not _stands(folder, own.file):
        raise UserError(
            f"the folder '{folder}' was removed, moved or replaced while this job worked in it; nothing more is "
            "written there."
        )


def _taken(folder: Path) -> IO[Any]:
    while True:
        file = open_to_append(folder / LOCK)
        if not lock(file, wait=False):
            file.close()
            raise _occupied(folder)
        if _stands(folder, file):
            return file
        file.close()  # its holder, who just ended, removed it between


def _stands(folder: Path, file: IO[Any]) -> bool:
    """Whether the lock of a folder is this file."""
    try:
        return os.path.samestat((folder / LOCK).lstat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _occupied(folder: Path) -> UserError:
    return UserError(f"another `dnal` works in '{folder}'; wait for its end, or stop it.")


def _forget() -> None:
    """A forked process has nothing of it: closed here, the lock is its holder's alone, and ends with that."""
    for own in _held.values():
        with suppress(OSError):
            own.file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
