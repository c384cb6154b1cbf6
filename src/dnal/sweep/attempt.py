"""A trial, begun or gone on with, where Ray put it: `dnal learn` or `dnal resume` in a process of its own.

Imported by the workers of Ray: it needs neither torch nor Ray.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from dnal.base.atomic import open_to_append
from dnal.base.claim import lock
from dnal.base.reading import content

BAD_INPUT = 2
"""The status of `dnal` for what was asked and cannot be done."""
MARK = "$ "
"""Begins the line of the log that says what was run."""
LARGEST_LOG = 2**26
"""Bytes of what a trial printed that are read."""


class EndedEarly(RuntimeError):
    """The process of a trial ended before the trial was finished; Ray tries again."""


@dataclass(frozen=True)
class Task:
    """What a worker needs to know, as plain values.

    Attributes:
        learn: the arguments of `dnal learn`, all but --out. resume: those of `dnal resume` besides the run.
        run: the run's folder. begun, finished: files that are there when it is.
        log: what the program prints. directory: where it is called.
        threads: of torch.
    """

    learn: list[str]
    resume: list[str]
    run: str
    begun: str
    finished: str
    log: str
    directory: str
    threads: int


def attempt(task: Task) -> bool:
    """Runs a trial to its end, from its last checkpoint where there is one.

    Returns:
        Whether it is finished; if not, the program refused what was asked, and would again.

    Raises:
        EndedEarly: the process was killed, or failed in the middle.
    """
    with open_to_append(Path(task.log)) as log:
        lock(log, wait=True)  # a process of an earlier attempt, whose worker is gone, may still be on its way out
        finished, begun = Path(task.finished).is_file(), Path(task.begun).is_file()
        arguments = ["resume", task.run, *task.resume] if begun else ["learn", *task.learn, "--out", task.run]
        log.write(f"{MARK}{command_line(arguments, task.threads)}\n")
        log.flush()
        status = _run(arguments, task, log.fileno())
        if status:
            log.flush()
            if status < 0 or not last_words(Path(task.log)):
                log.write(f"dnal: ended {f'by signal {-status}' if status < 0 else f'with status {status}'}.\n")
    if status == 0 or finished:  # then it only removed what the end had left
        return True
    if status == BAD_INPUT and not Path(task.begun).is_file():
        return False
    raise EndedEarly(f"status {status}")


def command_line(arguments: list[str], threads: int) -> str:
    """What to type into a shell. The number of threads belongs to it: sums over several are not the same numbers."""
    return f"OMP_NUM_THREADS={threads} {shlex.join(['dnal', *arguments])}"


def attempts(log: Path) -> int:
    """How often a trial was begun or gone on with."""
    return sum(line.startswith(MARK) for line in _lines(log))


def last_words(log: Path) -> str:
    """The last line that the last attempt printed, without the name in front."""
    said = [line for line in _lines(log) if line.strip()]
    return said[-1].strip().removeprefix("dnal: ") if said and not said[-1].startswith(MARK) else ""


def _run(arguments: list[str], task: Task, output: int) -> int:
    environment = {**os.environ, "OMP_NUM_THREADS": str(task.threads)}
    environment.pop("MKL_NUM_THREADS", None)  # torch would prefer it
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "dnal.base.leash", "dnal", *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        cwd=task.directory,
        env=environment,
    ) as process:
        try:
            return process.wait()
        except BaseException:
            process.kill()
            raise


def _lines(log: Path) -> list[str]:
    if not os.path.lexists(log):
        return []
    return content(log, LARGEST_LOG, remedy="move it away").decode(errors="replace").splitlines()
