"""Is a run that was killed anywhere the run that was never killed?

Eight kinds of jobs on the digits, a hundred kills with SIGKILL: inside single file operations (the first writes,
between the files of a start, at checkpoints, from the first file of the result to the report), at random moments of
training, and again while `dnal resume` goes on. After each the user does what is there to do: `dnal resume RUN`, or,
where that says that nothing was begun, the same command again. A row per kill: where it was, what went on, and whether
architecture.json and model.safetensors equal those of the run that nothing disturbed, byte for byte, whether it has its
report, and whether there is any file that an undisturbed run does not have, or the other way round.

Every `dnal` is a fork of this process, which has imported everything: a start takes no time, and is whole otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dnal.cli import main as program
from file_operations import MOMENTS, operations, watch
from result_file import append_rows, read_rows

NEEDED = (
    "lightning.fabric", "plotly.graph_objects", "plotly.offline", "sklearn.datasets", "timm",
    "torchmetrics.classification", "dnal.pipeline.learn", "dnal.data", "dnal.latency", "dnal.report.page",
    "dnal.cli.learn", "dnal.cli.resume", "dnal.cli.report", "dnal.cli.running", "dnal.cli.like", "dnal.cli.progress",
    "dnal.cli.network", "dnal.cli.processes", "dnal.cli.stopping", "dnal.run.trade_off",
)  # fmt: skip
"""Imported here, so that the forks need not."""
COMMON = ["--limit-train", "192", "--epochs", "1,1,1", "--checkpoint-every", "1"]
COMPARED = ("architecture.json", "model.safetensors")
START, TRAINING, END, AGAIN = "start", "training", "end", "resume"
PLAN = (START, END, START, AGAIN, TRAINING, END, START, TRAINING, END, AGAIN, TRAINING, END, START)
"""The kills of one kind of job, as many as it gets."""
PATIENCE = 120.0
"""Seconds for a process whose companion was killed."""


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        options: of `dnal learn`. runs: the folders of its runs, in its own. processes: that train together.
        trial: of a sweep, which has no report before all trials are over.
    """

    name: str
    options: list[str]
    runs: list[str] = field(default_factory=lambda: ["."])
    processes: int = 1
    trial: bool = False


def kinds(latency: Path) -> list[Kind]:
    """``latency``: a run that bounds the latency, whose latency model the kind of that name takes."""
    curve = ["--budget", "macs<=50%", "--budget", "macs<=25%", "--budget", "params<=40%"]
    return [
        Kind("default", COMMON),
        Kind("paper", [*COMMON, "--method", "paper:penalty=0.01"]),
        Kind("tas", [*COMMON, "--method", "tas", "--budget", "macs<=50%"]),
        Kind("latency", ["--like", str(latency), "--checkpoint-every", "1"]),
        Kind("trade-off", [*COMMON, *curve], runs=["macs50pct", "macs25pct", "params40pct"]),
        Kind("supernet", [*COMMON, "--model", "supernet/tiny"]),
        Kind("two processes", [*COMMON, "--devices", "2"], processes=2),
        Kind("sweep trial", [*COMMON, "--budget", "macs<=40%"], trial=True),
    ]


def forked(work: Callable[[], Any], log: Path, environment: dict[str, str] | None = None) -> int:
    """A process that does this; its number."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        os.environ.update(environment or {})
        work()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(process: int, patience: float = 600) -> int:
    """The status of a process, which is killed if it takes longer."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        number, status = os.waitpid(process, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGALRM


@dataclass
class Call:
    """A `dnal` on one folder, in as many processes as its job has."""

    kind: Kind
    run: Path
    log: Path

    def __call__(self, arguments: list[str], *, at: int = 0, moment: str = "before", after: float | None = None) -> int:
        """Its status, that of the process that writes; killed inside operation ``at``, or ``after`` seconds."""
        counted = self.log.with_suffix(".operations")
        counted.unlink(missing_ok=True)
        environments: list[dict[str, str]] = [{}]
        if self.kind.processes > 1:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
            environments = [{**place, "LOCAL_RANK": str(rank)} for rank in range(self.kind.processes)]

        def work(leads: bool) -> None:
            if leads:
                watch(self.run, counted, at, moment)
            sys.argv = ["dnal", *arguments]
            program()

        processes = [
            forked(lambda leads=rank == 0: work(leads), self.log, environment)  # type: ignore[misc]
            for rank, environment in enumerate(environments)
        ]
        if after is not None:
            while not any(self.run.rglob("checkpoint.safetensors")):
                time.sleep(0.002)
            time.sleep(after)
            os.kill(processes[0], signal.SIGKILL)
        status, *others = [ended(process, PATIENCE if rank else 600) for rank, process in enumerate(processes)]
        assert -signal.SIGALRM not in (status, *others), f"it hangs: {self.log}"
        return status

    @property
    def counted(self) -> list[str]:
        """The file operations of the last call."""
        return operations(self.log.with_suffix(".operations"))

    def learn(self, **kill: Any) -> int:
        if self.kind.trial:
            return self.attempt(**kill)
        return self(["learn", *self.kind.options, "--out", str(self.run), "--quiet"], **kill)

    def go_on(self, **kill: Any) -> tuple[str, int]:
        """What a user types, and how it ended."""
        if self.kind.trial:
            return "attempt", self.attempt(**kill)
        devices = ["--devices", str(self.kind.processes)] if self.kind.processes > 1 else []
        before = self.log.stat().st_size
        status = self(["resume", str(self.run), "--checkpoint-every", "1", "--quiet", *devices], **kill)
        said = self.log.read_text()[before:]
        nothing = not self.run.exists() or "the same `dnal learn`" in said or "it has no config.yaml" in said
        return ("learn", self.learn()) if status == 2 and nothing else ("resume", status)

    def attempt(self, **kill: Any) -> int:
        """What the process of a trial does when a worker of Ray tries it: it goes on with what has a config.yaml, and
        begins what has none. (sweep_killed.py kills trials of real sweeps.)"""
        if (self.run / "config.yaml").is_file():
            return self(["resume", str(self.run), "--checkpoint-every", "1", "--no-report"], **kill)
        return self(["learn", *self.kind.options, "--no-report", "--out", str(self.run)], **kill)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def spans(counted: list[str], kind: Kind) -> dict[str, range]:
    """Which file operations are the start, the training and the end of an undisturbed job, numbered from 1."""
    configured = [i for i, line in enumerate(counted, 1) if line.startswith("replace") and "config.yaml" in line]
    result = next(i for i, line in enumerate(counted, 1) if "architecture.json" in line)
    first = max(configured) + (2 if len(kind.runs) > 1 else 1)  # the folder's fsync; the record of a trade-off goes
    return {START: range(1, first + 1), TRAINING: range(first + 1, result), END: range(result, len(counted) + 1)}


def killed(call: Call, where: str, draw: random.Random, counted: list[str], seconds: float) -> dict[str, object]:
    """One job that is killed and gone on with, as a row."""
    span = spans(counted, call.kind)
    at = draw.choice(span[TRAINING if where == AGAIN else where])
    moment = draw.choice(MOMENTS)
    if where == TRAINING and draw.random() < 0.5:
        moment = "any"
        status = call.learn(after=draw.random() * seconds / 2)
    else:
        status = call.learn(at=at, moment=moment)
    operation, steps = (call.counted or [""])[-1], []
    if where == AGAIN:
        moment = draw.choice(MOMENTS)
        by, status = call.go_on(at=draw.randint(1, 30), moment=moment)
        steps, operation = [by], (call.counted or [""])[-1]
    by, resumed = call.go_on()
    return {
        "kind": call.kind.name,
        "where": where,
        "operation": operation,
        "moment": moment,
        "status": status,
        "then": " ".join([*steps, by]),
        "resumed_status": resumed,
    }


def compared(call: Call, whole: Path) -> dict[str, object]:
    """What is equal after all."""

    def equal(name: str) -> bool:
        pairs = [(call.run / run / name, whole / run / name) for run in call.kind.runs]
        return all(one.exists() and one.read_bytes() == other.read_bytes() for one, other in pairs)

    architecture, weights = COMPARED
    if call.kind.trial:
        call(["report", str(call.run)])
    places = [*call.kind.runs, *(["."] if len(call.kind.runs) > 1 else [])]
    return {
        "same_architecture": equal(architecture),
        "same_weights": equal(weights),
        "report": all((call.run / place / "report.html").exists() for place in places),
        "left_over": " ".join(sorted(files(call.run) ^ files(whole))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--kills", type=int, default=100)
    options = parser.parse_args()
    out = options.out.absolute()
    torch.set_num_threads(1)
    for name in NEEDED:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.chdir(folder)
        reference = Kind("latency", [*COMMON, "--budget", "latency<=80%"])
        assert Call(reference, folder / "reference", folder / "reference.log").learn() == 0
        chosen = kinds(folder / "reference")
        rows = read_rows(out)
        begun = Counter(row["kind"] for row in rows)
        wholes: dict[str, tuple[Path, list[str], float]] = {}
        for number in range(len(rows), options.kills):
            kind = chosen[number % len(chosen)]
            if kind.name not in wholes:
                call = Call(kind, folder / f"whole-{kind.name}", folder / f"whole-{kind.name}.log")
                clock = time.monotonic()
                assert call.learn() == 0, call.log.read_text()
                seconds, counted = time.monotonic() - clock, call.counted
                compared(call, call.run)  # a trial's report
                wholes[kind.name] = (call.run, counted, seconds)
            whole, counted, seconds = wholes[kind.name]
            where = PLAN[begun[kind.name] % len(PLAN)]
            begun[kind.name] += 1
            row: dict[str, object] = {}
            tries = 0
            while row.get("status") != -signal.SIGKILL:  # what had ended before its moment came is no kill
                tries += 1
                call = Call(kind, folder / f"run-{number}-{tries}", folder / f"run-{number}-{tries}.log")
                draw = random.Random(f"{number} {tries}")
                row = {"kill": number, **killed(call, where, draw, counted, seconds)}
            row |= compared(call, whole)
            print(row, flush=True)
            if not all(row[key] for key in ("same_architecture", "same_weights", "report")) or row["left_over"]:
                print(call.log.read_text(), flush=True)
            append_rows(out, list(row), [row])


if __name__ == "__main__":
    main()
