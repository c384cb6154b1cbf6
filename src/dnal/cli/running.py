"""Doing a job: network and data by name, learning, run folders, what is printed, and how it ends early."""

from __future__ import annotations

import shlex
import signal
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnal.base.errors import UserError
from dnal.cli.display import json_document, line
from dnal.cli.errors import Ended
from dnal.cli.job import Job
from dnal.costs.budget import Budget

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.data import Dataset
    from dnal.pipeline.result import Learned
    from dnal.run import RunWriter
    from dnal.train.listener import Listener


def run(
    job: Job,
    folders: list[Path],
    fabric: Fabric | None,
    *,
    overwrite: bool = False,
    resume: bool = False,
    data_sha256: str | None = None,
    watchers: Sequence[Listener] = (),
    log_to: Sequence[str] = (),
    report: bool = True,
    quiet: bool = False,
    as_json: bool = False,
    finished: Sequence[Path] = (),
) -> None:
    """Runs a job in ``folders``, one per budget, or goes on with what stands there (``resume``).

    Args:
        fabric: of several processes, launched; None for one.
        data_sha256: of the data that the job began with; others are refused.
        log_to: names of loggers; a run that goes on has its own.
        report: whether the runs get one. quiet, as_json: what is printed: only the folders, or one document.
        finished: all runs that are finished then, if they are more than ``folders``.

    Raises:
        UserError: for input that cannot work, and for what went wrong in the middle.
        Ended: when a signal stopped it.
    """
    import torch

    from dnal import data as data_sets
    from dnal.cli.failures import sentence_of
    from dnal.cli.network import created, input_of
    from dnal.cli.progress import ProgressBars, SpaceShown
    from dnal.cli.stopping import Stopping, Terminated
    from dnal.pipeline import learn as learning
    from dnal.train.listener import Listeners
    from dnal.train.loop import Diverged, Stopped
    from dnal.train.resume.checkpoint import Checkpoints

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    leads = fabric is None or fabric.is_global_zero
    if not leads:
        warnings.simplefilter("ignore")  # the first process says it
    dataset = data_sets.load(
        job.source.data,
        root=job.source.root,
        input_shape=input_of(job.source.model, job.source.input),
        classes=job.source.classes,
        limit_train=job.source.limit_train,
        seed=job.training.seed,
    )
    found = data_sets.fingerprint(dataset)
    if data_sha256 not in (None, found):
        raise UserError(
            f"the data '{job.source.data}' are not those that the run began with; put them back, or begin a new run."
        )
    source, seed = job.source, job.training.seed
    loaders = data_sets.loaders(dataset, source.batch_size, seed=seed, workers=source.workers)
    network, trained = created(source.model, dataset.classes, dataset.input_shape, weights=source.weights, seed=seed)
    writers: list[RunWriter] = []
    try:
        with Stopping() as stopping, ProgressBars(shown=leads and not quiet) as bars, ExitStack() as opened:
            each: list[list[Listener]] = [[stopping] for _ in folders]
            if leads:
                told: list[Listener] = [] if quiet or as_json else [SpaceShown()]
                common = [*told, *watchers, bars, stopping]
                written = _written(job, dataset, found)
                writers = _writers(folders, written, overwrite=overwrite, resume=resume, log_to=log_to)
                each = [
                    [*common, opened.enter_context(writer), *_logs(opened, writer, written, resume, log_to)]
                    for writer in writers
                ]
            results = learning.trade_off(
                network,
                loaders.train,
                loaders.val,
                loaders.test,
                [None if budget is None else Budget.parse(budget) for budget in job.bounds],
                base_is_trained=trained,
                example_inputs=dataset.val.batch(torch.arange(min(2, len(dataset.val))), 0)[0],
                fabric=fabric,
                checkpoints=[Checkpoints(folder, job.checkpoint_every, anew=not resume) for folder in folders],
                stop=stopping.asked,
                listeners=[Listeners(own) for own in each],
                latency=job.latency,
                **job.learning(),
            )
    except Diverged as error:
        raise UserError(_diverged(str(error), folders)) from error
    except UserError as error:
        if not _begun(folders, writers, leads=leads):
            raise
        raise UserError(f"{error} {_go_on(folders, begun=True)}.") from error
    except Stopped as stopped:
        # With several processes the signal may have come to another one.
        raise Ended(
            stopping.signal or signal.SIGTERM, f"stopped {stopped}; {_go_on(folders, begun=True)}." if leads else ""
        ) from None
    except Terminated as terminated:
        begun = _begun(folders, writers, leads=leads)
        raise Ended(terminated.number, f"interrupted; {_go_on(folders, begun=begun)}.") from None
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        begun = _begun(folders, writers, leads=leads)
        raise UserError(f"{sentence} {_go_on(folders, begun=begun)}.") from error
    if leads:
        page = reported(folders, list(finished) or folders) if report else None
        if quiet or as_json:
            tell(list(finished) or folders, as_json=as_json)
        else:
            _tell(job, results, folders, page)


def _written(job: Job, dataset: Dataset, sha256: str) -> dict[str, Any]:
    """What the run's config.yaml says of network and data."""
    return {
        "model": job.source.model,
        "weights": job.source.weights,
        "input": list(dataset.input_shape),
        "classes": dataset.classes,
        "data": job.source.data,
        "data_sha256": sha256,
        "class_names": list(dataset.class_names),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "root": job.source.root,
        "limit_train": job.source.limit_train,
        "batch_size": job.source.batch_size,
        "workers": job.source.workers,
        "seed": job.training.seed,
    }


def _writers(
    folders: list[Path], written: dict[str, Any], *, overwrite: bool, resume: bool, log_to: Sequence[str]
) -> list[RunWriter]:
    from dnal.run import RunWriter
    from dnal.run.trade_off import TradeOff

    together = TradeOff(folders[0].parent, len(folders)) if len(folders) > 1 else None
    return [
        RunWriter(folder, written, overwrite=overwrite, resume=resume, log_to=log_to, together=together)
        for folder in folders
    ]


def _logs(
    opened: ExitStack, writer: RunWriter, written: dict[str, Any], resume: bool, log_to: Sequence[str]
) -> list[Listener]:
    """The loggers of a run, after its writer, who makes the folder."""
    from dnal import loggers

    names = loggers.logs_of(writer.path) if resume else log_to
    return [opened.enter_context(loggers.log_to(name, writer.path, config=written, anew=not resume)) for name in names]


def tell(folders: list[Path], *, as_json: bool) -> None:
    """What a script needs to know of finished runs: their folders, or a document with their results."""
    from dnal.run import read_result
    from dnal.run.files import REPORT

    if as_json:
        reports = [folder / REPORT for folder in folders]
        json_document(
            {
                "runs": [
                    {"run": str(folder), "report": str(report) if report.exists() else None, **read_result(folder)}
                    for folder, report in zip(folders, reports, strict=True)
                ]
            }
        )
        return
    for folder in folders:
        line(str(folder))


def reported(folders: list[Path], together: list[Path]) -> Path | None:
    """The report of every run in ``folders``, of those too that were finished before a job was killed, and where there
    are several of all ``together``, beside them; that one is returned."""
    from dnal.cli.report import report_at_the_end
    from dnal.run.files import REPORT

    lacking = [folder for folder in together if folder in folders or not (folder / REPORT).exists()]
    common = together[0].parent / REPORT
    # The one of all comes first: once none of the others is lacking, it is of all of them as they are.
    page = None
    if len(together) > 1 and (lacking or not common.exists()):
        page = report_at_the_end(together, common)
    made = [report_at_the_end([folder], folder / REPORT) for folder in lacking]
    return page if len(together) > 1 or not made else made[0]


def _tell(job: Job, results: list[Learned], folders: list[Path], report: Path | None) -> None:
    from dnal.cli.summary import print_constraints, print_figures, print_trade_off

    if len(results) > 1:
        print_trade_off(results)
        line()
        for folder in folders:
            line(f"run:  {folder}")
        _tell_next(job, folders[0], report)
        return
    (learned,), (folder,) = results, folders
    rows = learned.figures.rows()
    print_figures(rows["base"], rows["compact"], job.deployment.deploy_batch_size, learned.settings["backend"])
    print_constraints(learned.constraints)
    for block in learned.blocks:
        line(block)
    line()
    line(f"run:  {folder}")
    _tell_next(job, folder, report)


def _tell_next(job: Job, folder: Path, report: Path | None) -> None:
    if report is not None:
        line(f"see:  {report}")
    line(f"next: {_evaluating(job, folder)}")


def _evaluating(job: Job, folder: Path) -> str:
    """The command that evaluates a run; it does not run a function that nobody trusts."""
    from dnal.models import names_code

    trust = f" --trust {job.source.model.partition(':')[0].partition('.')[0]}" if names_code(job.source.model) else ""
    return f"dnal eval {shlex.quote(str(folder))}{trust}"


def _begun(folders: list[Path], writers: list[RunWriter], *, leads: bool) -> bool:
    """Whether there is a run of this job to go on with."""
    from dnal.run.files import CONFIG, LAST, TRADE_OFF

    if not leads:
        return any((folder / LAST).exists() for folder in folders)  # those that are finished have none any more
    return any(
        writer.begun and ((writer.path / CONFIG).exists() or (writer.path.parent / TRADE_OFF).exists())
        for writer in writers
    )


def _go_on(folders: list[Path], *, begun: bool) -> str:
    """The command that goes on, where there is something to go on from."""
    if not begun:
        return "nothing was begun"
    folder = folders[0] if len(folders) == 1 else folders[0].parent
    return f"`dnal resume {shlex.quote(str(folder))}` goes on"


def _diverged(sentence: str, folders: list[Path]) -> str:
    from dnal.run.files import LAST, RESULT

    where = sentence.partition(";")[0].rstrip(".")
    checkpoint = next(folder for folder in folders if not (folder / RESULT).exists()) / LAST
    return f"{where}; the last good state is '{checkpoint}'; a lower --lr usually helps."
