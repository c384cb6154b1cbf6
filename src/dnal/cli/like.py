"""`dnal learn --like RUN`: the options that a run was made with.

They are taken as if they had been typed: where the run's model is a function, that is imported from the current
directory or the Python path and called. Loading a run asks for trust there; repeating one is trust.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.cli.job import KEYS, Job

if TYPE_CHECKING:
    from dnal.run.repeat import Differences, Recorded

CHANGES_WITH: dict[str, tuple[str, ...]] = {
    "weights": ("model",),
    "input": ("model", "data"),
    "classes": ("model", "data"),
    "init": ("method",),
    "recipe": ("method",),
    "lambda_": ("recipe", "method"),
    "distil": ("recipe",),
    "epochs": ("model", "weights", "method"),
    "latency": ("model", "data", "input", "classes", "deploy_batch", "backend", "depth", "include", "exclude"),
}
"""What a run recorded of an option is of no use once one of these is another; then it is as if it were not given."""


def repeated(job: Job, run: Path, given: Collection[str]) -> tuple[Job, Differences]:
    """The job that a run recorded, but with the ``given`` options of this one, and who tells what else differs.

    Raises:
        UserError: no run, or a config.yaml that no run has written so.
    """
    from dnal.run.repeat import Differences, recorded

    document = recorded(run)
    given = {KEYS.get(name, name) for name in given}
    values = _values(document, run)
    stale = {name for name, others in CHANGES_WITH.items() if given.intersection(others)}
    kept = {name: value for name, value in values.items() if name not in given | stale}
    return replace(job, **kept), Differences(run, document, everything=not given & values.keys())


def job_of(document: Recorded, run: Path) -> Job:
    """The very job that a run recorded."""
    return Job(**_values(document, run))


def _values(document: Recorded, run: Path) -> dict[str, Any]:
    """The fields of :class:`Job` that a run records."""
    from dnal.run.files import LATENCY
    from dnal.run.repeat import Recorded

    latency = run / LATENCY
    recorded = [field.name for field in fields(Job) if field.name in Recorded.model_fields]
    return {
        **{name: getattr(document, name) for name in recorded},
        "budgets": [document.budget] if document.budget is not None else [],
        "epochs": tuple(document.epochs),
        "latency": latency if latency.is_file() else None,
    }
