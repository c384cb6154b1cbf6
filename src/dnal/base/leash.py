"""`python -m dnal.base.leash MODULE ARGUMENTS`: `python -m MODULE ARGUMENTS` in a process that ends when the one that
started it does.

A process that is killed cannot end what it started: the trial of a worker of Ray would go on, beside the one that takes
its place, and a process of a job would wait for one that is gone. The other end of stdin is held by who started this
one: it closes with it, whatever ends it.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from contextlib import suppress


def _end_with_the_other_end() -> None:
    said = False
    while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold when the program ends
        said = True
    if not said:
        with suppress(OSError):
            os.write(2, b"dnal: the process that started this one is gone.\n")
    os._exit(1)  # at once, as if killed: a run can go on from any moment


if __name__ == "__main__":
    threading.Thread(target=_end_with_the_other_end, daemon=True).start()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
