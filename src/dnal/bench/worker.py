"""A job in a process of its own, with one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dnal.base.errors import UserError, one_line
from dnal.base.side_by_side import STOPPED, stop_asked
from dnal.bench.base import train_base
from dnal.bench.ground import DataFolders, Ground
from dnal.bench.jobs import Base, Impossible, Penalty, Run, WorkItem
from dnal.bench.penalty import find_penalty
from dnal.bench.results import LONGEST_REASON, write_failure
from dnal.bench.run import run_row
from dnal.bench.suite import Suite
from dnal.train.loop import Stopped
from dnal.train.setup.reproducible import reproducible

DONE = ""


def work(suite: Suite, job: WorkItem, rates: Sequence[float], folders: DataFolders, out: Path) -> str:
    """Does a job, or what is left of it.

    Returns:
        DONE, STOPPED with its state kept, or a sentence that says why it failed.
    """
    torch.set_num_threads(1)
    try:
        do(suite, job, rates, folders, out, stop_asked)
    except Stopped:
        return STOPPED
    except Impossible as error:
        assert isinstance(job, Run)
        why = one_line(str(error), LONGEST_REASON)
        write_failure(out, job, why)
        return why
    except UserError as error:
        return str(error)
    return DONE


def do(
    suite: Suite, job: WorkItem, rates: Sequence[float], folders: DataFolders, out: Path, stop: Callable[[], bool]
) -> None:
    """A job, or what is left of it, in this process.

    Raises:
        Stopped: when ``stop`` says so; its state is kept. UserError: as the job itself.
    """
    ground = Ground(suite, suite.network(job.network), _seed(suite, job), folders)
    with reproducible(ground.fabric.device):
        if isinstance(job, Base):
            train_base(ground, out, stop)
        elif isinstance(job, Penalty):
            find_penalty(ground, job, out, stop)
        else:
            run_row(ground, job, rates, out, stop)


def _seed(suite: Suite, job: WorkItem) -> int:
    return suite.seeds[0] if isinstance(job, Penalty) else job.seed
