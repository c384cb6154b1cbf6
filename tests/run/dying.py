"""A process that writes run folders, each in a fork that is killed inside another file operation."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from benchmark_script import script
from dnal import compact, models
from dnal.architecture.architecture import Architecture
from dnal.base.errors import UserError
from dnal.changes.removal import Removal
from dnal.latency import LatencyModel
from dnal.pipeline.result import BaseAndCompact, Figures, Learned
from dnal.run import RunWriter
from dnal.run.trade_off import TradeOff
from dnal.space.space import Space
from dnal.train.resume.checkpoint import Checkpoints

JOB = {
    "model": "vgg_small", "weights": None, "input": [1, 8, 8], "classes": 10, "data": "digits", "root": None,
    "limit_train": None, "batch_size": 8, "workers": 0, "seed": 3,
}  # fmt: skip
LATENCY = LatencyModel("torch-cpu", 1, "cpu", {}, 1, 1, [], [], {}, 0.0, [], [], 0.0)
CURVE = ("half", "quarter")


@cache
def learned() -> Learned:
    network = models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    space = Space.of(network, torch.rand(1, 1, 8, 8))
    architecture = Architecture.random(space, 0.5, seed=1)
    each = Figures({"macs": 1, "params": 1, "latency_ms": 1.0}, 0.5)
    figures = BaseAndCompact(each, each)
    small = compact(network, architecture).eval()
    return Learned(
        small,
        Removal(architecture),
        space,
        [],
        figures,
        [],
        {"budget": "macs<=50%"},
        {"base": 1.0},
    )


def begin(folder: Path, *, overwrite: bool = False) -> RunWriter:
    writer = RunWriter(folder, JOB, log_to=["tensorboard"], overwrite=overwrite)
    writer.latency(LATENCY)
    writer.start({"lr": 0.1})
    return writer


def replace(folder: Path) -> None:
    begin(folder, overwrite=True)


def begin_both(folder: Path) -> None:
    together = TradeOff(folder, len(CURVE))
    for name in CURVE:
        writer = RunWriter(folder / name, JOB, together=together)
        writer.latency(LATENCY)
        writer.start({"budget": name})


def end(folder: Path) -> None:
    writer = RunWriter(folder, JOB, resume=True)
    writer.start({})
    writer.finish(learned())


def begin_on_a_full_disk(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    try:
        begin(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def prepared(folder: Path) -> None:
    """A run in the middle."""
    begin(folder).close()
    for step in (1, 2):
        Checkpoints(folder).save({"step": step})


def whole(folder: Path) -> None:
    prepared(folder)
    end(folder)


BEFORE: dict[Callable[[Path], object], Callable[[Path], object]] = {end: prepared, replace: whole}


def all_deaths(work: Callable[[Path], object], folder: str, moment: str) -> None:
    """``work`` in folder/1, folder/2, ..., killed in its first, second, ... operation, until it lives."""
    torch.set_num_threads(1)
    learned()
    number, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        number += 1
        place = Path(folder) / str(number)
        if work in BEFORE:
            BEFORE[work](place)
        status = _forked(work, place, number, moment)
    assert status == 0


def _forked(work: Callable[[Path], object], place: Path, at: int, moment: str) -> int:
    process = os.fork()
    if process == 0:
        status = 1
        try:
            script("file_operations").watch(place, place.with_suffix(".log"), at, moment)
            work(place)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def failure(work: Callable[[Path], object], folder: str) -> str:
    """What ``work`` says when it fails, in a fork."""
    told = Path(f"{folder}.told")

    def tell(place: Path) -> None:
        try:
            work(place)
        except UserError as error:
            os.write(output, str(error).encode())

    output = os.open(told, os.O_RDWR | os.O_CREAT)
    assert _forked(tell, Path(folder), 0, "before") == 0
    return told.read_text()


class Dying:
    """Another process, which does it."""

    def __init__(self) -> None:
        self.pool = multiprocessing.get_context("forkserver").Pool(1)  # fresh, and with one thread: it can be forked

    def deaths(self, work: Callable[[Path], object], folder: Path, moment: str) -> list[Path]:
        """The folders of those that died, and at the end of the one that lived."""
        self.pool.apply(all_deaths, (work, str(folder), moment))
        return sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: int(path.name))

    def failure(self, work: Callable[[Path], object], folder: Path) -> str:
        """What it says."""
        return self.pool.apply(failure, (work, str(folder)))
