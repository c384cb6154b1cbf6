"""`dnal resume`: going on with a run that was stopped or killed, from its last checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import line
from dnal.cli.errors import told


@told
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of the runs of a trade-off.")],
    devices: Annotated[int | None, typer.Option(metavar="N", help=options.DEVICES)] = None,
    nodes: Annotated[int | None, typer.Option(metavar="N", help=options.NODES)] = None,
    strategy: Annotated[str, typer.Option(metavar="S", help=options.STRATEGY)] = "auto",
    checkpoint_every: Annotated[int, typer.Option(metavar="N", help=options.CHECKPOINT_EVERY)] = 200,
    report: Annotated[bool, typer.Option("--report/--no-report", help=options.REPORT)] = True,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Go on with a run that was stopped or killed, as if it had never stopped; one that is finished says so."""
    from dnal.cli.like import job_of
    from dnal.cli.processes import launched
    from dnal.cli.running import run as do
    from dnal.cli.running import tell
    from dnal.run.files import RESULT, runs_in
    from dnal.run.repeat import Differences, recorded

    options.whole("--checkpoint-every", checkpoint_every)
    options.whole("--devices", devices)
    options.whole("--nodes", nodes)
    folders = runs_in(run) or [run]  # what is no run is told as such when it is read
    documents = {folder: recorded(folder) for folder in folders}
    left = [folder for folder in folders if not (folder / RESULT).is_file()]
    if not left:
        if quiet or as_json:
            tell(folders, as_json=as_json)
        else:
            line(f"'{run}' is finished.")
        return
    first, jobs = documents[left[0]], [job_of(documents[folder], folder) for folder in left]
    if any(replace(job, budgets=(), latency=None) != replace(jobs[0], budgets=(), latency=None) for job in jobs):
        raise UserError(f"the runs in '{run}' differ in more than their budgets; resume each by itself.")
    job = replace(
        jobs[0],
        budgets=tuple(document.budget for folder in left if (document := documents[folder]).budget is not None),
        latency=next((job.latency for job in jobs if job.latency is not None), None),
        checkpoint_every=checkpoint_every,
    )
    fabric = launched(devices, nodes, strategy, job.numerics.precision)
    do(
        job,
        left,
        fabric,
        resume=True,
        data_sha256=first.data_sha256,
        watchers=[Differences(left[0], first, everything=len(left) == 1)],
        report=report,
        quiet=quiet,
        as_json=as_json,
        finished=folders,
    )
