"""`dnal learn --like RUN`: the options that a run was made with.

They are taken as if they had been typed, except for what a folder that may be anybody's cannot ask for: code that is
not trusted, a job that is much larger than the folder's files, and something to be downloaded.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.cli.job import JobRequest

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


FETCHED: dict[str, tuple[str, ...]] = {"data": ("data", "root"), "weights": ("weights",)}
"""What may be downloaded, and the options that ask for it."""


def repeated(given: Mapping[str, Any], run: Path, trust: Sequence[str] = ()) -> tuple[JobRequest, Differences]:
    """The job that a run recorded, except for the options ``given`` here, and who tells what else differs.

    Args:
        run: its folder, or that of several which are compared.
        trust: packages whose code the folder may name; names of its model, which may be of any size then and fetch
            its weights, and of its data, which may be fetched.

    Raises:
        UserError: no run, a config.yaml that no run has written so, code that is not trusted, or a job that is much
            larger than its folder.
    """
    from dnal.run.believed import check_believed
    from dnal.run.comparison import asked_for
    from dnal.run.repeat import Differences, recorded

    run = asked_for(run)
    changed = given.keys() & {"model", "data", "method", "techniques", "against"}
    document = recorded(run, trust=trust, given=changed)
    if "model" not in given:
        config = document.config.model_copy(update={"batch_size": given.get("batch_size", document.config.batch_size)})
        remedy = f"say --model {shlex.quote(config.model)} if that is meant, or a smaller --batch-size or --input"
        check_believed(config, [run], trust, remedy)
    values = _values(document, run)
    stale = {name for name, others in CHANGES_WITH.items() if given.keys() & set(others)}
    kept = _yielding({name: value for name, value in values.items() if name not in stale}, given)
    job = _unasked(JobRequest.of({**kept, **given}), trust, given)
    return job, Differences(run, document, everything=not given.keys() & values.keys())


def _yielding(kept: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a run recorded, without the techniques that are left out now, and without leaving out those that are asked
    for now: of two options that contradict each other the newer one holds."""
    out, asked = set(given.get("without", ())), {_name(technique) for technique in given.get("techniques", ())}
    left = dict(kept)
    if "techniques" in left:
        left["techniques"] = tuple(technique for technique in left["techniques"] if _name(technique) not in out)
    if "without" in left:
        left["without"] = tuple(name for name in left["without"] if name not in asked)
    return left


def _name(technique: str | Mapping[str, Any]) -> str:
    from dnal.techniques import TECHNIQUES

    return TECHNIQUES.name_in(technique) if isinstance(technique, str) else str(technique.get("name"))


def job_of(document: Recorded, run: Path, trust: Sequence[str] = ()) -> JobRequest:
    """The very job that a run recorded; ``trust`` as in :func:`repeated`."""
    return _unasked(JobRequest.of(_values(document, run)), trust)


def _unasked(job: JobRequest, trust: Sequence[str], given: Collection[str] = ()) -> JobRequest:
    """The same job, which downloads only what the user asked for: by an option, or by trusting its name."""
    names = {"data": job.source.data, "weights": job.source.model}
    return replace(
        job,
        offline=tuple(
            what for what, asking in FETCHED.items() if names[what] not in trust and not set(asking) & set(given)
        ),
    )


def _values(document: Recorded, run: Path) -> dict[str, Any]:
    """What a run records, by the names of options and of the fields of :class:`JobRequest`."""
    from dnal.run.believed import workers_of
    from dnal.run.files import LATENCY

    latency = run / LATENCY
    return {
        **document.options,
        "workers": workers_of(document.config),
        "method": document.method,
        "techniques": tuple(document.techniques),
        "without": tuple(document.without),
        "budgets": () if document.budget is None else (document.budget,),
        "threads": document.threads,
        "latency": latency if latency.is_file() else None,
    }
