"""A suite from its first job to its last row, side by side, from wherever it was left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dnal.base.rows import Row
from dnal.base.side_by_side import side_by_side
from dnal.bench.base import trained
from dnal.bench.baselines import check_installed
from dnal.bench.ground import DataFolders
from dnal.bench.jobs import Penalty, Run, WorkItem, jobs, leader, needs
from dnal.bench.penalty import penalty_file
from dnal.bench.results import failures, gather, read_row, write_results
from dnal.bench.suite import BASELINES, Suite
from dnal.bench.worker import work
from dnal.methods import METHODS


@dataclass
class Outcome:
    """How far a benchmark came.

    Attributes:
        rows: made. impossible: those that no try can make, and why. failed: what went wrong this time. left: how many
            rows are still to be made. killed: whether a process was.
    """

    rows: dict[Run, Row]
    impossible: dict[Run, str] = field(default_factory=dict)
    failed: dict[WorkItem, str] = field(default_factory=dict)
    left: int = 0
    killed: bool = False


def run_suite(
    suite: Suite,
    out: Path,
    order: Sequence[Run],
    *,
    folders: DataFolders,
    at_once: int,
    stop: Callable[[], bool],
    on_end: Callable[[WorkItem, str, Outcome], None],
) -> Outcome:
    """Does what is left of a suite, so many jobs at once, one process and one thread each.

    Args:
        order: the rows of the table in the order of the whole suite. stop: asked all the time; jobs in progress keep
            their state then. on_end: called with every job that ended, and "" or why it failed.
    """
    everything = jobs(suite)
    outcome = Outcome(gather(out, order), failures(out, order))
    write_results(out, outcome.rows, order)
    done = {job for job in everything if _done(job, out, outcome.rows)}
    rows = [job for job in everything if isinstance(job, Run) and job not in done]
    _add_followers(suite, outcome, rows)
    wanted = {job for row in rows if row not in outcome.impossible for job in _with_needs(suite, row)} - done
    waiting = [job for job in everything if job in wanted]
    if not waiting:
        return outcome

    def ended(job: WorkItem, answer: str) -> None:
        if isinstance(job, Run) and failures(out, [job]):
            outcome.impossible[job] = answer
        elif answer:
            outcome.failed[job] = answer
        else:
            done.add(job)
            if isinstance(job, Run):
                outcome.rows[job] = read_row(out, job)
                write_results(out, outcome.rows, order)
        on_end(job, answer, outcome)

    left = side_by_side(
        work,
        waiting,
        arguments=lambda job: (suite, job, rates_of(suite, job, outcome.rows), folders, out),
        at_once=at_once,
        stop=stop,
        ended=ended,
        ready=lambda job: all(need in done for need in needs(suite, job)),
    )
    outcome.killed = left.killed
    _add_followers(suite, outcome, rows)
    outcome.left = len([job for job in left.jobs if isinstance(job, Run) and job not in outcome.impossible])
    return outcome


def _add_followers(suite: Suite, outcome: Outcome, rows: Sequence[Run]) -> None:
    """Rows whose learning rate a row was to find that cannot be made cannot be made either."""
    for row in rows:
        first = leader(suite, row)
        if row not in outcome.impossible and first in outcome.impossible:
            outcome.impossible[row] = f"'{first.name}', which finds its learning rate, cannot be made."


def rates_of(suite: Suite, job: WorkItem, rows: dict[Run, Row]) -> tuple[float, ...]:
    """The learning rate of the retraining that a job's leader found best; none where the job tries all of them."""
    if not isinstance(job, Run) or leader(suite, job) == job:
        return ()
    return (float(rows[leader(suite, job)]["rate"]),)


def minutes_over(minutes: float | None) -> Callable[[], bool]:
    """Asks whether so many minutes from now have passed; never, where there is no number."""
    begun = time.monotonic()
    return lambda: minutes is not None and time.monotonic() - begun >= 60 * minutes


def _with_needs(suite: Suite, job: WorkItem) -> list[WorkItem]:
    return [job, *(other for need in needs(suite, job) for other in _with_needs(suite, need))]


def _done(job: WorkItem, out: Path, rows: dict[Run, Row]) -> bool:
    if isinstance(job, Run):
        return job in rows
    return penalty_file(out, job).is_file() if isinstance(job, Penalty) else trained(out, job)


def check_methods(suite: Suite) -> None:
    """Refuses methods that do not exist, or lack their package, before anything is trained.

    Raises:
        UserError: naming the first.
    """
    for entry in suite.entries:
        if entry.method in BASELINES:
            check_installed(entry.method)
        else:
            METHODS.read(entry.method)
