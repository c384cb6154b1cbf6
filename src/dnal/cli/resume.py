"""`dnal resume`: going on with a run that was stopped or killed, from its last checkpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dnal.base.claim import LOCK, held
from dnal.base.errors import UserError
from dnal.cli import options
from dnal.cli.display import line
from dnal.cli.errors import errors_as_sentences
from dnal.cli.job import JobRequest

if TYPE_CHECKING:
    from dnal.run.repeat import Recorded


@errors_as_sentences
def resume(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a run, or of the runs of a trade-off or comparison.")
    ],
    trust: Annotated[list[str] | None, typer.Option(metavar="NAME", help=f"You trust {options.TRUST}")] = None,
    root: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Folder of the downloaded sets, if it is another one now, or shall be filled."
        ),
    ] = None,
    devices: Annotated[int | None, typer.Option(metavar="N", help=options.DEVICES)] = None,
    nodes: Annotated[int | None, typer.Option(metavar="N", help=options.NODES)] = None,
    strategy: Annotated[str, typer.Option(metavar="S", help=options.STRATEGY)] = "auto",
    checkpoint_every: Annotated[int, typer.Option(metavar="N", help=options.CHECKPOINT_EVERY)] = 200,
    report: Annotated[bool, typer.Option("--report/--no-report", help=options.REPORT)] = True,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Go on with a run that was stopped or killed, as if it had never stopped; one that is finished says so."""
    from dnal.cli.processes import launched
    from dnal.cli.running import run as do
    from dnal.run.believed import check_believed
    from dnal.run.comparison import comparisons, settings_of
    from dnal.run.config import read_config
    from dnal.run.files import runs_in
    from dnal.run.repeat import Differences, recorded
    from dnal.run.trade_off import complete

    options.within(options.COUNT, "--checkpoint-every", checkpoint_every)
    options.within(options.COUNT, "--devices", devices)
    options.within(options.COUNT, "--nodes", nodes)
    complete(run)
    folders = runs_in(run) or [run]
    _check_begun(run, folders)
    left = _left(folders)
    for folder in folders:
        if folder not in left:
            read_config(folder)  # no more is needed of what is finished
    documents = {folder: recorded(folder, trust=trust or ()) for folder in left}
    if not left:
        _end(run, folders, report=report, quiet=quiet, as_json=as_json)
        return
    for document in documents.values():
        check_believed(document.config, folders, trust or (), f"say --trust {document.config.model} if that is meant")
    jobs = [replace(job, checkpoint_every=checkpoint_every) for job in jobs_of_runs(run, documents, trust or ())]
    if root is not None:
        jobs = [
            replace(job, source=replace(job.source, root=root), offline=tuple(set(job.offline) - {"data"}))
            for job in jobs
        ]
    job = jobs[0]
    others = [others for _, others in comparisons(settings_of(folders))]
    fabric = launched(devices, nodes, strategy, job.numerics.precision, job.source.batch_size)
    with ExitStack() as claims:
        if fabric is None or fabric.is_global_zero:
            _claim(claims, run, left)
            for folder in folders:
                if folder not in left:
                    _tidy(folder)
        first = documents[left[0]]
        do(
            jobs,
            left,
            fabric,
            resume=True,
            data_sha256=first.data_sha256,
            watchers=[Differences(left[0], first, everything=len(left) == 1)],
            report=report,
            quiet=quiet,
            as_json=as_json,
            finished=folders,
            rivals={folder: name for each in others for name, folder in each.items()},
        )


def _check_begun(run: Path, folders: list[Path]) -> None:
    """Refuses a folder in which a start was killed before it was a run. Reading it refuses all else that is no run."""
    from dnal.run.writer import vacant

    for folder in folders:
        if folder != run and folder.is_symlink():
            raise UserError(f"'{folder}' is a link; resume what it leads to by itself.")
        starts = [folder, *(path.parent for path in folder.glob(f"*/{LOCK}"))]
        if any(map(vacant, starts)):
            raise UserError(f"nothing was begun in '{folder}' yet; the same `dnal learn` as before begins it.")


def _left(folders: list[Path]) -> list[Path]:
    from dnal.run.files import RESULT

    return [folder for folder in folders if not (folder / RESULT).is_file()]


def jobs_of_runs(run: Path, documents: dict[Path, Recorded], trust: Sequence[str] = ()) -> list[JobRequest]:
    """The jobs of the runs that are not finished, which share their base.

    Raises:
        UserError: they do not.
    """
    from dnal.cli.like import job_of

    jobs = [job_of(document, folder, trust) for folder, document in documents.items()]
    # Where no divisor was given, a bound on the latency decided for its own run; without one it is decided so again.
    timed = any("latency" in (document.budget or "") for document in documents.values())
    divisors = {job.widths.divisor for job in jobs}
    if timed and len(divisors) > 1:
        # Where nothing is timed, "auto" stands as it was given.
        asked: Literal["auto"] | None = "auto" if "auto" in divisors else None
        jobs = [replace(job, widths=replace(job.widths, divisor=asked)) for job in jobs]
    latency = next((job.latency for job in jobs if job.latency is not None), None)
    jobs = [replace(job, latency=latency) for job in jobs]
    bases = list(map(_base, jobs))
    if any(base != bases[0] for base in bases):
        raise UserError(f"the runs in '{run}' differ in more than their budgets and methods; resume each by itself.")
    return jobs


def _base(job: JobRequest) -> tuple[JobRequest, object]:
    """What a job has in common with all that go on from the same base: everything that trains it, and what may vary
    in it. What is made of it is left out."""
    from dnal.pipeline.plan import phases_of, techniques_of
    from dnal.settings import Comparison
    from dnal.techniques import TECHNIQUES

    asked = job.asked()
    first, *later = phases_of(asked.training.epochs, asked.method, asked.base_is_trained)
    total = sum(later) if job.training.schedule_over == "job" else None  # then the whole length moves the base's rates
    acting = sorted(str(TECHNIQUES.values(technique)) for technique in techniques_of(asked))
    alike = replace(
        job, budgets=(), method="uniform", techniques=(), without=(), comparison=Comparison(),
        training=replace(job.training, epochs=None, reinitialize=None),
    )  # fmt: skip
    return alike, (first, total, acting)


def _claim(claims: ExitStack, run: Path, left: list[Path]) -> None:
    """Holds the folders, before their checkpoints are read."""
    for folder in left:
        claims.enter_context(held(folder))
    if _left(left) != left:
        raise UserError(f"another `dnal` just worked in '{run}'; call this one again.")


def _end(run: Path, folders: list[Path], *, report: bool, quiet: bool, as_json: bool) -> None:
    """Makes what finished runs lack because a kill came between, and says that they are finished."""
    from dnal.cli.outcome import reported, tell

    for folder in folders:
        _tidy(folder)
    page = reported([], folders) if report else None
    if quiet or as_json:
        tell(folders, as_json=as_json)
        return
    line(f"'{run}' is finished.")
    if page is not None:
        line(f"see:  {page}")


def _tidy(folder: Path) -> None:
    from dnal.run.writer import leftovers, tidy

    if leftovers(folder) or os.path.lexists(folder / LOCK):
        with held(folder):  # no other process is writing them now
            tidy(folder)
