"""A study from its first row to its last, side by side, from wherever it was left."""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from dnal.base import claim
from dnal.base.errors import UserError, reason_of
from dnal.base.options import values_of as options_as_values
from dnal.base.reading import json_of
from dnal.base.side_by_side import STOPPED, side_by_side, stop_asked
from dnal.base.version import VERSION
from dnal.studies.study import Row, Setting, Sized, Study
from dnal.studies.table import RESULTS, gather, keep_row, key_of, tidy, values_of

STUDY = "study.json"
"""In the folder of a study: which one it is, and its options."""
LARGEST = 2**20
"""Bytes of it."""
LONGEST_REASON = 500
"""Characters of it."""

Job = tuple[tuple[Setting, int], ...]
"""Rows that are made in one process."""


@dataclass
class Outcome:
    """How far a study came.

    Attributes:
        rows: made, in their order. failed: what went wrong this time, with the rows that are missing for it. left: how
            many rows are still to be made. killed: whether a process was.
    """

    rows: list[Row]
    failed: dict[str, str] = field(default_factory=dict)
    left: int = 0
    killed: bool = False


def claimed(out: Path, name: str, study: Study) -> AbstractContextManager[None]:
    """The folder of a study, ours until the end; rows of other options do not come into it. One with nothing but a
    table is taken for such a folder, so that a user can go on from rows of somebody else.

    Raises:
        UserError: it holds something else, cannot be written, or another process works in it.
    """
    document = {"study": name, "options": options_as_values(study)}
    copy = out / STUDY
    if os.path.lexists(copy):
        if json_of(copy, LARGEST, remedy="choose another folder with --out") != document:
            raise UserError(f"'{out}' holds another study, or this one with other options; choose another with --out.")
    elif out.is_dir() and any(entry.name != RESULTS for entry in out.iterdir()):
        raise UserError(f"the folder '{out}' exists and holds no study; choose another with --out.")
    return claim.claimed(out, STUDY, json.dumps(document, indent=1) + "\n", "dnal study")


def rows_of(sized: Sized, out: Path) -> list[Row]:
    """The rows that are there, those of other seeds too.

    Raises:
        UserError: the folder is damaged.
    """
    return [values_of(row) for row in gather(out, [key_of(*one) for one in sized.rows()]).values()]


def run_study(
    sized: Sized,
    out: Path,
    *,
    at_once: int,
    stop: Callable[[], bool] = lambda: False,
    on_end: Callable[[str, str], None] = lambda what, why: None,
) -> Outcome:
    """Makes the rows that are not there yet.

    Args:
        out: a folder that is there. at_once: how many jobs; several have a process with one thread each, a single one
            is done in this process.
        stop: asked between rows. on_end: called with what ended, in words, and "" or why it failed.
    """
    tidy(out)
    plan = sized.rows()
    wanted = [key_of(*one) for one in plan]
    made = set(gather(out, wanted))
    waiting = _jobs(sized.study, [one for one in plan if key_of(*one) not in made])
    outcome = Outcome([])

    def ended(job: Job, why: str) -> None:
        rows = gather(out, wanted)
        missing = [one for one in job if key_of(*one) not in rows]
        if why:
            outcome.failed[named(missing or list(job))] = why
        on_end(named(missing if why and missing else list(job)), why)

    if at_once == 1:
        for job in waiting:
            if stop():
                break
            answer = _make(sized.study, job, out, stop)
            if answer != STOPPED:
                ended(job, answer)
    else:
        outcome.killed = side_by_side(
            make, waiting, arguments=lambda job: (sized.study, job, out), at_once=at_once, stop=stop, ended=ended
        ).killed
    rows = gather(out, wanted)
    tidy(out)
    outcome.rows = [values_of(row) for row in rows.values()]
    outcome.left = len([key for key in wanted if key not in rows])
    return outcome


@contextmanager
def reading(name: str, study: Study, out: Path) -> Iterator[None]:
    """While checks and figure of a study are made of the rows in a folder, which may be anybody's.

    Raises:
        UserError: instead of any other exception; with the line of the study where it was.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename == inspect.getfile(type(study))] or frames
        where = f"{Path(own[-1].filename).name}, line {own[-1].lineno}"
        raise UserError(
            f"the study '{name}' cannot tell anything from the rows in '{out}' ({where}: {type(error).__name__}: "
            f"{reason_of(error)}); move {RESULTS} there away, or mend the study."
        ) from error


def named(rows: Sequence[tuple[Setting, int]]) -> str:
    """Rows in words: the first one, and how many more."""
    setting, seed = rows[0]
    first = ", ".join([*(f"{name} {value}" for name, value in setting.items()), f"seed {seed}"])
    return first if len(rows) == 1 else f"{first}, and {len(rows) - 1} more"


def make(study: Study, job: Job, out: Path) -> str:
    """Makes the rows of a job in a process of its own.

    Returns:
        "", STOPPED, or a sentence that says why the rest cannot be made.
    """
    if "torch" in sys.modules:  # before this process was made a worker
        sys.modules["torch"].set_num_threads(1)
    return _make(study, job, out, stop_asked)


def _make(study: Study, job: Job, out: Path, stop: Callable[[], bool]) -> str:
    for setting, seed in job:
        if stop():
            return STOPPED
        begun = time.perf_counter()
        of = {**setting, "seed": seed}
        try:
            found = study.row(seed=seed, **setting)
            for name in of.keys() & found.keys():
                raise UserError(f"the row gives '{name}', which is among what it was asked for.")
            around = {"row_seconds": round(time.perf_counter() - begun, 1), "made_with": _versions()}
            keep_row(out, key_of(setting, seed), {**of, **found, **around})
        except UserError as error:
            return reason_of(error, LONGEST_REASON)
        except Exception as error:  # of a study that may be anybody's: other jobs are done all the same
            return f"{type(error).__name__}: {reason_of(error, LONGEST_REASON)}"
    return ""


def _jobs(study: Study, left: Sequence[tuple[Setting, int]]) -> list[Job]:
    groups: dict[Hashable, list[tuple[Setting, int]]] = {}
    for setting, seed in left:
        groups.setdefault(study.together(setting, seed), []).append((setting, seed))
    return [tuple(rows) for rows in groups.values()]


def _versions() -> str:
    return f"dnal {VERSION}, torch {metadata.version('torch')}"
