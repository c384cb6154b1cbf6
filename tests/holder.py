"""Another process that works in a folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from dnal.base.claim import held

CONTEXT = multiprocessing.get_context("forkserver")


def hold(folder: str, told: Connection, forks: bool) -> None:
    """Holds a folder until it is killed; with ``forks`` a child of its own lives on."""
    with held(Path(folder)):
        child = 0
        if forks:
            there, here = os.pipe()
            child = os.fork()
            if child == 0:
                told.close()
                os.write(here, b".")  # what a fork does in the child is done: the lock is its parent's alone
                while True:
                    signal.pause()
            os.read(there, 1)
        told.send(child)
        while True:
            signal.pause()


@contextmanager
def holder(folder: Path, *, forks: bool = False) -> Iterator[BaseProcess]:
    """A process that holds the folder, killed at the end at the latest; with ``forks`` it has a child, which lives."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=hold, args=(str(folder), theirs, forks))
    process.start()
    child = ours.recv()
    try:
        yield process
    finally:
        process.kill()
        process.join()
        if child:
            os.kill(child, signal.SIGKILL)
