"""One process at a time works in a folder, or on a file; the system lets go for one that is killed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dnal.base.atomic import open_to_append, write_text
from dnal.base.errors import UserError


def lock(file: IO[Any], *, wait: bool) -> bool:
    """Locks an open file until it is closed, also by the processes that inherited it.

    A file system without locks is taken for one on which nobody else works.

    Args:
        wait: for whoever has it now.

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

    Args:
        name, text: of that file; one that is there stays. command: whose folder it is, as a user calls it.

    Raises:
        UserError: it cannot be written, or somebody else has it.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_text(path, text)
        file = open_to_append(path)
    except OSError as error:
        raise UserError(f"'{folder}' cannot be written ({error.strerror}); choose another with --out.") from None
    with file:
        if not lock(file, wait=False):
            raise UserError(f"another `{command}` works in '{folder}'; wait for its end, or stop it.")
        yield
