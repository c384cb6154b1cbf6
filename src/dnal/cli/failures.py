"""What can go wrong in the middle of a command without wrong input, as a sentence."""

from __future__ import annotations

import errno
import os

from dnal.base.errors import lacks_memory

SHARED = "/dev/shm"
"""Where processes that prepare images put them; small in a container."""
LITTLE = 2**20
"""Bytes: a place with so few is full."""


def sentence_of(error: BaseException) -> str | None:
    """The sentence for something that the machine lacks, for a process that prepares images or one that trains along;
    None for any other error."""
    text, number = str(error), error.errno if isinstance(error, OSError) else None
    if lacks_memory(error):
        return "there is not enough memory for a batch; lower --batch-size, or choose a smaller --input."
    if number == errno.ENOMEM or "failed to map segment" in text or "Cannot allocate memory" in text:
        return "there is not enough memory, or address space (`ulimit -v`); see to that, or lower --workers."
    if number in (errno.EMFILE, errno.ENFILE) or "Too many open files" in text or "items of ancdata" in text:
        return "too many files are open at once; raise the limit (`ulimit -n`), or lower --workers."
    if number == errno.EAGAIN or "can't start new thread" in text:
        return "no further process or thread can be started (`ulimit -u`); see to that, or lower --workers."
    if "Bus error" in text or "torch_shm" in text or "</torch_" in text or (number == errno.ENOSPC and _full(SHARED)):
        return (
            f"the memory that processes share, {SHARED}, is full; make it larger (a container has --shm-size), or "
            "lower --workers."
        )
    # Where the process died while it handed over a batch, the pipe is what is noticed.
    if "DataLoader worker" in text or isinstance(error, ConnectionError | EOFError):
        return "a process that prepares images died, perhaps for want of memory; try fewer --workers."
    if lost_peer(error):
        return "another process of the job is gone."
    return None


def lost_peer(error: BaseException) -> bool:
    """Whether an error says that another process of the job is gone."""
    text = str(error)
    words = ("Connection closed by peer", "Connection reset by peer", "gloo", "NCCL", "ProcessGroup", "Broken pipe")
    return type(error).__name__.startswith("Dist") or (
        isinstance(error, RuntimeError) and any(word in text for word in words)
    )


def _full(place: str) -> bool:
    try:
        found = os.statvfs(place)
    except (OSError, AttributeError):
        return False
    return found.f_bavail * found.f_frsize < LITTLE or not found.f_favail
