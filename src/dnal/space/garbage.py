"""Python's garbage collector while a network is analysed.

An analysis makes and keeps some hundred thousand objects. Whenever the new ones are a quarter of those before, the
collector looks through all that the process holds: with torch and what it imports, that takes as long as a forward pass
of a small network, and happens several times in an analysis.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Within, the collector looks through new objects only; afterwards through all of them again. Where the program has
    frozen objects itself (``gc.freeze``), nothing is changed: Python has one set of frozen objects, and unfreezing ours
    would unfreeze those."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
