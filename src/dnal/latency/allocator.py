"""The C library's memory while something is timed."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt."""
DEFAULTS = {TRIM_THRESHOLD: 64 * 2**20, MMAP_MAX: 65536}

_depth = 0


@contextmanager
def steady_memory() -> Iterator[None]:
    """Keeps freed memory in the process.

    glibc gives large blocks back to the system or not by what else lies on the heap, and PyTorch takes every result of
    an operation from there: the same network takes up to twice as long where each of its results faults its pages in
    again. Elsewhere than on glibc this does nothing.
    """
    global _depth
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is not None and _depth == 0:
        libc.mallopt(TRIM_THRESHOLD, -1)
        libc.mallopt(MMAP_MAX, 0)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if libc is not None and _depth == 0:
            for parameter, value in DEFAULTS.items():
                libc.mallopt(parameter, value)
            libc.malloc_trim(0)
