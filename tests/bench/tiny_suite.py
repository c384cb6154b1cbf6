"""A suite of seconds, and its jobs done in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dnal.bench import worker
from dnal.bench.ground import DataFolders
from dnal.bench.jobs import Penalty, Run, WorkItem, needs
from dnal.bench.penalty import penalty_file
from dnal.bench.run import row_file
from dnal.bench.suite import MORE, OUTSIDE, OWN, Network, Suite

TINY = Suite(
    "tiny", "for tests", (Network("small", "vgg_small", "digits", (1, 8, 8), 150, (30.0, 15.0), (1, 2, 1), 32),),
    (0, 1), (*OWN, *MORE, *OUTSIDE), rates=(0.02, 0.05), bisections=2,
)  # fmt: skip


def never() -> bool:
    return False


def after(steps: int) -> Callable[[], bool]:
    """Says yes from the call number ``steps`` on."""
    left = iter(range(steps))
    return lambda: next(left, None) is None


def do(suite: Suite, job: WorkItem, out: Path, rates: tuple[float, ...] = (), stop: Callable[[], bool] = never) -> None:
    """A job, after what it needs of bases and penalties."""
    for need in needs(suite, job):
        if not isinstance(need, Run):
            do(suite, need, out)
    if isinstance(job, Penalty) and penalty_file(out, job).exists():
        return
    worker.do(suite, job, rates or suite.rates[-1:], DataFolders(), out, stop)


def row(suite: Suite, job: Run, out: Path, rates: tuple[float, ...] = ()) -> dict[str, Any]:
    do(suite, job, out, rates)
    document: dict[str, Any] = json.loads(row_file(out, job).read_text())
    return document
