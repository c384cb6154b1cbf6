"""Doing a job: network and data by name, learning, run folders, what is printed, and how it ends early."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dnal.base.errors import UserError
from dnal.cli.job import JobRequest

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from dnal.data import Dataset
    from dnal.run import RunWriter
    from dnal.train.listener import Listener


def run(
    jobs: Sequence[JobRequest],
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
    rivals: Mapping[Path, str] = MappingProxyType({}),
) -> None:
    """Runs a job in ``folders``, one per result, or goes on with what stands there (``resume``).

    Args:
        jobs: the one that is begun; or of runs that go on the job of each, which are alike except for what they make of
            the base.
        fabric: of several processes, launched; None for one.
        data_sha256: of the data that the job began with; others are refused.
        log_to: names of loggers; a run that goes on has its own.
        report: whether the runs get one. quiet, as_json: what is printed: only the folders, or one document.
        finished: all runs that are finished then, if they are more than ``folders``.
        rivals: those of runs that go on which the others do without, and the names of their methods.

    Raises:
        UserError: for input that cannot work, and for what went wrong in the middle.
        Ended: when a signal stopped it.
    """
    import torch

    from dnal import data as data_sets
    from dnal.cli.going_on import says_how_to_go_on
    from dnal.cli.network import created
    from dnal.cli.outcome import reported, show, tell
    from dnal.cli.progress import ProgressBars, SpaceShown
    from dnal.cli.stopping import Stopping
    from dnal.pipeline import learn as learning
    from dnal.run.data import example_of
    from dnal.run.trust import trusting
    from dnal.train.listener import Listeners
    from dnal.train.resume.checkpoint import Checkpoints

    job = jobs[0]
    # Asked now: where memory or the disk is full it is too late.
    trust = trusting(name for each in jobs for name in each.code())
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    leads = fabric is None or fabric.is_global_zero
    if not leads:
        warnings.simplefilter("ignore")  # the first process says it
    dataset, found = _data(job, data_sha256)
    source, seed = job.source, job.training.seed
    loaders = data_sets.loaders(dataset, source.batch_size, seed=seed, workers=source.workers)
    network, trained = created(
        source.model, dataset.classes, dataset.input_shape, kind=data_sets.KINDS[dataset.kind],
        objective=dataset.objective, weights=source.weights, seed=seed, download="weights" not in job.offline,
    )  # fmt: skip
    stopping = Stopping()
    with (
        says_how_to_go_on(folders, trust, stopping, leads=leads) as writers,
        stopping,
        ProgressBars(shown=leads and not quiet) as bars,
        ExitStack() as opened,
    ):
        each: list[list[Listener]] = [[stopping] for _ in folders]
        if leads:
            common = [*([] if quiet or as_json else [SpaceShown()]), *watchers, bars, stopping]
            written = _written(job, dataset, found)
            writers += _writers(folders, written, overwrite=overwrite, resume=resume, log_to=log_to)
            each = [
                [*common, opened.enter_context(writer), *_logs(opened, writer, written, resume, log_to)]
                for writer in writers
            ]
        lr = job.training.lr or dataset.objective.lr
        known = {"base_is_trained": trained, "loss": dataset.loss, "lr": lr}
        wanted = [one for own in jobs for one in own.wanted(alone=resume, **known)]
        if resume:
            wanted = [replace(one, rival=rivals.get(folder)) for one, folder in zip(wanted, folders, strict=True)]
        results = learning.several(
            network,
            loaders.train,
            loaders.val,
            loaders.test,
            wanted,
            checkpoints=[Checkpoints(folder, job.checkpoint_every, restart=not resume) for folder in folders],
            listeners=[Listeners(own) for own in each],
            shared={
                "loss": dataset.loss,
                "metric": dataset.metric,
                "example_inputs": example_of(dataset),
                "fabric": fabric,
                "stop": stopping.asked,
                "latency": job.latency,
            },
        )
    if leads:
        page = reported(folders, list(finished) or folders) if report else None
        if quiet or as_json:
            tell(list(finished) or folders, as_json=as_json)
        else:
            ended = {folder: found for folder, found in zip(folders, results, strict=True) if found is not None}
            show(job, ended, list(finished) or folders, page)


def _data(job: JobRequest, data_sha256: str | None) -> tuple[Dataset, str]:
    """The job's data and their fingerprint, which is ``data_sha256`` where that is given."""
    from dnal import data as data_sets
    from dnal import models
    from dnal.cli.network import input_of

    dataset = data_sets.load(
        job.source.data,
        root=job.source.root,
        input_shape=input_of(job.source.model, job.source.input),
        classes=job.source.classes,
        limit_train=job.source.limit_train,
        seed=job.training.seed,
        download="data" not in job.offline,
        kind=models.kind_of(job.source.model),
    )
    found = data_sets.fingerprint(dataset)
    if data_sha256 not in (None, found):
        raise UserError(
            f"the data '{job.source.data}' are not those that the run began with; put them back, or begin a new run."
        )
    return dataset, found


def _written(job: JobRequest, dataset: Dataset, sha256: str) -> dict[str, Any]:
    """What the run's config.yaml says of network and data."""
    return {
        "model": job.source.model,
        "weights": job.source.weights,
        "kind": dataset.kind,
        "objective": dataset.objective.name,
        "input": list(dataset.input_shape),
        "classes": dataset.classes,
        "data": job.source.data,
        "data_sha256": sha256,
        "class_names": list(dataset.class_names),
        "mean": list(dataset.mean),
        "std": list(dataset.std),
        "target_mean": list(dataset.target_mean),
        "target_std": list(dataset.target_std),
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
    return [
        opened.enter_context(loggers.log_to(name, writer.path, config=written, restart=not resume)) for name in names
    ]
