"""`python -m dnal.sweep.leash ARGUMENTS`: `dnal ARGUMENTS` in a process that ends when the one that started it does.

A worker of Ray that is killed cannot end what it started; the trial would go on, beside the one that takes its place.
The other end of stdin is the worker's: it closes with it, whatever ends it.
"""

from __future__ import annotations

import os
import threading


def _end_with_the_other_end() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold when the program ends
        pass
    os._exit(1)  # at once, as if killed: a run can go on from any moment


if __name__ == "__main__":
    from dnal.cli import main

    threading.Thread(target=_end_with_the_other_end, daemon=True).start()
    main()
