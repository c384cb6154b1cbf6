"""`dnal learn --like RUN`: the options that a run was made with.

They are taken as if they had been typed: where the run's model is a function, that is imported from the current
directory or the Python path and called. Loading a run asks for trust there; repeating one is trust.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.cli.job import Job

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
KEYS = {"input_": "input", "budget": "budgets"}
"""Options whose field has another name."""


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
    """The fields of :class:`Job`."""
    from dnal.run.files import LATENCY

    latency = run / LATENCY
    return {
        "model": document.model,
        "weights": document.weights,
        "input": document.input,
        "classes": document.classes,
        "data": document.data,
        "root": document.root,
        "budgets": [document.budget] if document.budget is not None else [],
        "method": document.method,
        "init": document.init,
        "recipe": document.recipe,
        "lambda_": document.lambda_,
        "least": document.least,
        "multiple": document.multiple,
        "depth": document.depth,
        "deploy_batch": document.deploy_batch,
        "backend": document.backend,
        "epochs": tuple(document.epochs),
        "lr": document.lr,
        "batch_size": document.batch_size,
        "workers": document.workers,
        "include": document.include,
        "exclude": document.exclude,
        "seed": document.seed,
        "limit_train": document.limit_train,
        "precision": document.precision,
        "distil": document.distil,
        "steps": document.steps,
        "memory_format": document.memory_format,
        "threads": document.threads,
        "latency": latency if latency.is_file() else None,
    }
