"""Processes that train together and the end of one of them: the others end too, with a sentence, and soon.

Those that this command starts itself are on a leash (``dnal.base.leash``), and it notices when they end. Of processes
that a launcher started on this machine one may be gone before it was ever heard of: for them the start has a limit.
Between them the training itself notices, except for a GPU's, which waits for long.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dnal.cli.errors import BAD_INPUT, INTERRUPTED, say

PATIENCE = 10.0
"""Seconds in which a process may notice by itself that another one is gone, and say what goes on."""
START = 50.0
"""Seconds in which the processes of one machine, which start together, have found each other."""
DECIDED = (0, INTERRUPTED, 128 + 15)
"""Statuses of a process whose end all of them know of: done, or stopped by a signal to one of them."""
GONE = "another process of the job is gone; where a run was begun, `dnal resume` goes on with it."


def bring(processes: int) -> None:
    """Starts this very command again for all processes of this machine but the first, which this one is; from now on
    it ends when one of them is gone, and they when this one is.

    Args:
        processes: on this machine.
    """
    for rank in range(1, processes):
        other = subprocess.Popen(
            [sys.executable, "-P", "-m", "dnal.base.leash", "dnal", *sys.argv[1:]],
            env={**os.environ, "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
        )
        atexit.register(_farewell, other)
        threading.Thread(target=_watch, args=(other,), daemon=True).start()


@contextmanager
def limited(what: str) -> Iterator[None]:
    """Ends this process where the start takes too long; ``what`` to say then."""
    timer = threading.Timer(START, _end, [what])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _watch(other: subprocess.Popen[bytes]) -> None:
    if other.wait() not in DECIDED:
        time.sleep(PATIENCE)
        _end(GONE)


def _farewell(other: subprocess.Popen[bytes]) -> None:
    """A process that ends on purpose has said why; the other need not say anything."""
    assert other.stdin is not None
    with suppress(OSError):
        other.stdin.write(b".")
        other.stdin.close()


def _end(sentence: str) -> None:
    """From any thread, whatever the others wait for."""
    say(sentence)
    os._exit(BAD_INPUT)
