"""One process at a time works on a sweep, and on a trial; the system lets go for one that is killed."""

from __future__ import annotations

import sys
from typing import IO, Any


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
