"""Python's garbage collector while a network is analysed.

An analysis makes and keeps some hundred thousand objects, and after each quarter more of them than before the collector
looks through all that the process holds: with torch and its friends imported that takes as long as a forward pass of a
small network, several times in one analysis.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """The collector looks through what is made within, not through what was there before; afterwards through all of it
    again. Where somebody has set objects aside already (``gc.freeze``), nothing is changed: there is one place aside,
    and they would come back from it too."""
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
