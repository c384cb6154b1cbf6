"""How much memory does a job take, in each of its phases, over that of the network's weights?

A network whose weights outweigh everything else: linear layers of 2048, batches of 8. The resident memory of the
process at its most in each phase, above what it was before the job, over the bytes of the weights; with and without
checkpoints, with SGD and AdamW. A row's `code` is "now", or says on which code before this script ran: "before"
anything of a phase was let go at its end, or "freed", before the base shared its memory with the trained network. Linux
only. Each job runs in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/speed/learn_memory.py
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parents[1]))

import dnal
from dnal.train.listener import Listener
from paired import machine
from result_file import append_rows

WIDTH, LAYERS, BATCH, EXAMPLES = 2048, 5, 8, 64
PHASES = ("base", "architecture", "retrain", "measure")
JOBS = (("sgd", False), ("sgd", True), ("adamw", False), ("adamw", True))
"""Optimizers, without and with checkpoints."""


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Bytes at the most since the last :func:`forget`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return 1024 * int(line.split()[1])


def forget() -> None:
    Path("/proc/self/clear_refs").write_text("5")


class Peaks(Listener):
    """The most memory of each phase, in bytes; what comes after the last epoch is the measuring."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        self._now = "before"
        self._left = 0

    def phase(self, name: str, epochs: int, steps: int) -> None:
        self._turn(name)
        self._left = epochs

    def epoch(self, record: dict[str, object]) -> None:
        self._left -= 1
        if not self._left and self._now == "retrain":
            self._turn("measure")

    def _turn(self, name: str) -> None:
        self.found[self._now] = peak()
        self._now = name
        forget()

    def end(self) -> None:
        self._turn("")


def network() -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, WIDTH)]
    for _ in range(LAYERS):
        layers += [nn.ReLU(), nn.Linear(WIDTH, WIDTH)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(WIDTH, 10))


def one(optimizer: str, kept: bool) -> None:
    """A job, whose peaks over the weights are printed as JSON."""
    torch.manual_seed(0)
    data = TensorDataset(torch.rand(EXAMPLES, 64), torch.arange(EXAMPLES) % 10)

    def loaders() -> list[DataLoader[tuple[torch.Tensor, ...]]]:
        return [DataLoader(data, BATCH) for _ in range(3)]

    warnings.simplefilter("ignore")
    small = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    dnal.learn(small, *loaders(), epochs=(1, 1, 1), deployment="backend=torch-cpu")  # what any job imports
    learner = network()
    weights = sum(parameter.nbytes for parameter in learner.parameters())
    gc.collect()
    begun, peaks = resident(), Peaks()
    forget()
    with tempfile.TemporaryDirectory() as folder:
        dnal.trade_off(
            learner, *loaders(), budgets=["macs<=50%"], epochs=(1, 1, 1), optimizer=optimizer, lr=1e-3,
            method="dnal:curves_to=none", deployment="backend=torch-cpu", listeners=[peaks],
            checkpoints=[dnal.Checkpoints(folder, every=4)] if kept else (),
        )  # fmt: skip
    peaks.end()
    # The weights themselves were there before.
    print(json.dumps({name: (bytes_ - begun + weights) / weights for name, bytes_ in peaks.found.items()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--code", default="now")
    parser.add_argument("--jobs", nargs="+", type=int, default=list(range(len(JOBS))), help="by number")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        one(options.one[0], options.one[1] == "1")
        return
    for optimizer, kept in (JOBS[number] for number in options.jobs):
        command = [sys.executable, __file__, "--one", optimizer, str(int(kept))]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        row = {
            "code": options.code, "optimizer": optimizer, "checkpoints": int(kept),
            **{phase: f"{found[phase]:.2f}" for phase in PHASES}, "machine": machine(),
        }  # fmt: skip
        print(row, flush=True)
        append_rows(options.out, list(row), [row])


if __name__ == "__main__":
    main()
