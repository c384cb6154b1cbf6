"""Processes that run `dnal`, and are killed or get a signal at a given step."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path


def full_disk() -> None:
    """From now on no file may become larger than a config.yaml."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))


def no_memory() -> None:
    """From now on there is hardly more memory than what is in use."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20, resource.RLIM_INFINITY))


def dead_worker() -> None:
    """The process that prepares images dies."""
    worker = multiprocessing.active_children()[0]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)


def no_folder() -> None:
    """The run is removed while it is worked in."""
    shutil.rmtree("folder")


TROUBLES: dict[str, Callable[[], None]] = {
    "disk": full_disk,
    "memory": no_memory,
    "worker": dead_worker,
    "folder": no_folder,
}


def call(
    arguments: list[str],
    folder: str,
    step: int,
    number: int | str,
    delay: float,
    log: str,
    environment: dict[str, str],
) -> None:
    """`dnal ARGUMENTS` in ``folder``; signal ``number`` (or one of ``TROUBLES``) comes ``delay`` seconds after the
    step; what it prints on stderr, and the steps it did, go to files."""
    os.chdir(folder)
    os.environ.update(environment)
    sys.stderr = Path(log).open("w", buffering=1)  # noqa: SIM115
    from dnal.cli import app
    from dnal.train import loop

    steps, together = 0, loop.together
    done = os.open(f"{log}.steps", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def counted(*values):  # type: ignore[no-untyped-def]
        nonlocal steps
        steps += 1
        os.write(done, b".")  # a byte a step: nothing that a kill could tear
        if steps == step and isinstance(number, str):
            TROUBLES[number]()
        elif steps == step:
            threading.Timer(delay, os.kill, (os.getpid(), number)).start()
        return together(*values)

    loop.together = counted  # type: ignore[assignment]
    try:
        app(arguments, prog_name="dnal")
    except SystemExit as ended:
        sys.stderr.flush()
        os._exit(ended.code if isinstance(ended.code, int) else 1)


@dataclass
class End:
    """How a process ended: its status, what it printed on stderr, and how many steps it did."""

    status: int
    err: str
    steps: int


class Processes:
    """Starts them from a process that has imported everything, so that each takes a moment only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["dnal.cli", "dnal.pipeline.learn", "dnal.data", "dnal.models", "timm"])
        self._calls = 0

    def start(
        self,
        arguments: list[str],
        *,
        at: int = 0,
        number: int | str = signal.SIGKILL,
        delay: float = 0,
        environment: dict[str, str] | None = None,
    ) -> tuple[BaseProcess, Path]:
        """Starts `dnal ARGUMENTS`; ``at``: the step after which the signal comes."""
        self._calls += 1
        log = self.folder / f"{self._calls}.err"
        process = self._context.Process(
            target=call, args=(arguments, str(self.folder), at, number, delay, str(log), environment or {})
        )
        process.start()
        return process, log

    def __call__(
        self, arguments: list[str], *, at: int = 0, number: int | str = signal.SIGKILL, delay: float = 0
    ) -> End:
        """Runs it to its end."""
        return ended(*self.start(arguments, at=at, number=number, delay=delay))


def ended(process: BaseProcess, log: Path) -> End:
    """Waits for the end, ten minutes at most: on a busy machine a job of seconds takes some."""
    process.join(600)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("it hangs")
    steps = Path(f"{log}.steps")
    return End(process.exitcode, log.read_text(), steps.stat().st_size if steps.exists() else 0)
