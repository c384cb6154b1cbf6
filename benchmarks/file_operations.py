"""Killing a process inside a single file operation: before it, after it, or with a file half written.

What dnal writes goes through few functions of ``os``. In a process that is made for it they are counted, as far as they
concern one folder, and at a given one the process kills itself.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnal.base.atomic import target_of

MOMENTS = ("before", "after", "torn")
NAMES = ("mkdir", "rmdir", "open", "fsync", "replace", "unlink")


def watch(folder: Path, log: Path, at: int = 0, moment: str = "before") -> None:
    """From now on, in this process, the operations in ``folder`` that change something are counted and written to
    ``log``, a line each.

    Args:
        at: the number of the operation at which the process dies, from 1 on; at 0 it lives.
        moment: "before" or "after" the operation; "torn": at the next fsync, half of that file is on the disk.
    """
    root, process = folder.absolute(), os.getpid()
    count = 0
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def die() -> None:
        os.kill(process, signal.SIGKILL)

    def wrapped(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            path = _path_of(args[1] if name == "replace" else args[0])
            if os.getpid() != process or not path.is_relative_to(root) or not _changes(name, path, args):
                return original(*args, **kwargs)
            count += 1
            os.write(output, f"{name} {_told(path.relative_to(root))}\n".encode())
            if at and moment == "torn" and count >= at and name == "fsync" and not path.is_dir():
                os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                die()
            if count == at and moment == "before":
                die()
            try:
                return original(*args, **kwargs)
            finally:
                if count == at and moment == "after":
                    die()

        return operation

    for name in NAMES:
        setattr(os, name, wrapped(name, getattr(os, name)))


def operations(log: Path) -> list[str]:
    """What was counted."""
    return log.read_text().splitlines() if log.exists() else []


def _path_of(target: Any) -> Path:
    return Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(os.fspath(target)).absolute()


def _changes(name: str, path: Path, args: tuple[Any, ...]) -> bool:
    if name == "open":
        return bool(args[1] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return name != "unlink" or os.path.lexists(path)


def _told(path: Path) -> str:
    """A path in the folder without what is drawn at random."""
    target = target_of(path.name)
    return str(path if target is None else path.with_name(f"{target}.tmp"))
