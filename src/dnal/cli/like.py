"""`dnal learn --like RUN`: the options that a run was made with.

They are taken as if they had been typed: where the run's model is a function, that is imported from the current
directory or the Python path and called. Loading a run asks for trust there; repeating one is trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.cli.job import Job

if TYPE_CHECKING:
    from dnal.run.repeat import Differences, Recorded

CHANGES_WITH: dict[str, tuple[str, ...]] = {
    "weights": ("model",),
    "input": ("model", "data"),
    "classes": ("model", "data"),
    "reinitialize": ("method",),
    "techniques": ("method",),
    "without": ("method",),
    "prune_blocks": ("method",),
    "epochs": ("model", "weights", "method"),
    "latency": (
        "model", "data", "input", "classes", "deploy_batch_size", "backend", "prune_blocks", "include", "exclude",
    ),
}  # fmt: skip
"""What a run recorded of an option is of no use once one of these is another; then it is as if it were not given."""


def repeated(given: Mapping[str, Any], run: Path) -> tuple[Job, Differences]:
    """The job that a run recorded, except for the options ``given`` here, and who tells what else differs.

    Raises:
        UserError: no run, or a config.yaml that no run has written so.
    """
    from dnal.run.repeat import Differences, recorded

    document = recorded(run)
    values = _values(document, run)
    stale = {name for name, others in CHANGES_WITH.items() if given.keys() & set(others)}
    kept = {name: value for name, value in values.items() if name not in stale}
    return Job.of({**kept, **given}), Differences(run, document, everything=not given.keys() & values.keys())


def job_of(document: Recorded, run: Path) -> Job:
    """The very job that a run recorded."""
    return Job.of(_values(document, run))


def _values(document: Recorded, run: Path) -> dict[str, Any]:
    """What a run records, by the names of options and of the fields of :class:`Job`."""
    from dnal.run.files import LATENCY

    latency = run / LATENCY
    return {
        **document.options,
        "method": document.method,
        "techniques": tuple(document.techniques),
        "without": tuple(document.without),
        "budgets": () if document.budget is None else (document.budget,),
        "threads": document.threads,
        "latency": latency if latency.is_file() else None,
    }
