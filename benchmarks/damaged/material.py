"""What is damaged: a folder or file of each kind, as dnal and its users make them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import dnal
from damaged.kinds import MARKER, MODULE
from dnal import models
from dnal.changes import Removal
from dnal.methods import METHODS
from dnal.methods.dnal.method import DNAL
from dnal.pipeline.result import BaseAndCompact, Figures, Learned
from dnal.run import RunWriter
from dnal.run.files import LAST, LATENCY, REPORT, SHAPE
from dnal.train.resume.checkpoint import BEFORE

QUICK = ["--data", "digits", "--limit-train", "96", "--epochs", "1,1,1", "--batch-size", "32", "--quiet"]
NETWORK, IMAGES, CLASSES = "vgg_small", (1, 8, 8), 10
SWEEP = "job: {model: vgg_small, data: digits, epochs: '1,1,1', limit_train: 96}\ngrid: {seed: [0]}\n"


def honest(path: Path, model: str, shape: tuple[int, int, int], classes: int, seed: int = 0) -> None:
    """A finished run of an untrained network with half of its channels."""
    torch.manual_seed(seed)
    network = models.create(model, classes=classes, input_shape=shape)
    space = dnal.Space.of(network, torch.rand(2, *shape))
    architecture = dnal.Architecture.random(space, 0.5, seed=seed)
    each = Figures({"macs": 1, "params": 1, "latency_ms": 1.0}, 0.5)
    figures = BaseAndCompact(each, each)
    learned = Learned(
        dnal.compact(network, architecture).eval(), Removal(architecture), space, [], figures, [],
        {"budget": "macs<=50%"}, {"base": 1.0},
    )  # fmt: skip
    job = {
        "model": model, "weights": None, "input": list(shape), "classes": classes, "data": "digits", "root": None,
        "limit_train": None, "batch_size": 8, "workers": 0, "seed": seed,
    }  # fmt: skip
    writer = RunWriter(path, job)
    writer.start({"budget": "macs<=50%", "method": METHODS.values(DNAL()), "epochs": [1, 1, 1]})
    writer.finish(learned)


def workplace(folder: Path) -> None:
    """A current directory in which a module waits to be imported, and a program to be started."""
    (folder / f"{MODULE}.py").write_text(
        f"import os\nos.mkdir({MARKER!r})\nfrom torch import nn\ndef net():\n    return nn.Linear(1, 1)\n"
    )
    (folder / "bin").mkdir()
    (folder / "bin" / "gs").write_text(f"#!/bin/sh\nmkdir {folder / MARKER}\n")
    (folder / "bin" / "gs").chmod(0o755)


def trained(path: Path) -> None:
    """A finished run on digits, as the command makes it."""
    subprocess.run([sys.executable, "-m", "dnal", "learn", *QUICK, "--out", str(path)], check=True)


KILLED = """
import os, signal, sys
from pathlib import Path

from dnal.cli.job import JobRequest
from dnal.cli.running import run
from dnal.train.listener import Listener

class Killer(Listener):
    def phase(self, name, epochs, steps_per_epoch):
        self.left = steps_per_epoch + 1 if name == "retrain" else None

    def step(self, loss):
        if self.left is not None:
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)

job = JobRequest.of({"limit_train": 96, "epochs": (1, 1, 2), "batch_size": 32, "checkpoint_every": 1})
run(job, [Path(sys.argv[1])], None, watchers=[Killer()], quiet=True)
"""


def unfinished(path: Path) -> None:
    """A run that was killed in its third phase: it has two checkpoints and a log."""
    command = [sys.executable, "-c", KILLED, str(path)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (path / LAST).exists()
    assert (path / BEFORE).exists()


def latency(path: Path) -> None:
    """The latency model of the network."""
    from dnal.latency import profile

    path.mkdir()
    network, space = network_and_space()
    model = profile(network, space, torch.rand(2, *IMAGES), backend="torch-cpu", batch=1, multiple=1)
    model.save(path / LATENCY)


def network_and_space() -> tuple[torch.nn.Module, dnal.Space]:
    network = models.create(NETWORK, classes=CLASSES, input_shape=IMAGES)
    return network, dnal.Space.of(network, torch.rand(2, *IMAGES))


def shape(path: Path) -> None:
    """The list of shapes of a supernet, in which a candidate is gone."""
    from dnal.run.shape import Model, shape_of, written

    model = Model("supernet/tiny", CLASSES, IMAGES)
    network = models.create(model.name, classes=model.classes, input_shape=model.input_shape)
    space = dnal.Space.of(network, torch.rand(2, *IMAGES))
    path.write_text(written(shape_of(dnal.Architecture.random(space, 0.6, 1, branches=0.7), model)))


def weights(path: Path) -> None:
    save_file(models.create(NETWORK, classes=CLASSES, input_shape=IMAGES).state_dict(), path)


def arrays(path: Path) -> None:
    draw = np.random.default_rng(0)
    pixels, labels = draw.integers(0, 255, (64, 8, 8), dtype=np.uint8), np.arange(64) % 3
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)


def images(path: Path) -> None:
    draw = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in "ab":
            folder = path / part / name
            folder.mkdir(parents=True)
            for number in range(6):
                Image.fromarray(draw.integers(0, 255, (16, 16), dtype=np.uint8)).save(folder / f"{number}.png")


def study(path: Path, run: Path) -> None:
    """A sweep whose only trial is finished."""
    path.mkdir()
    (path / "sweep.yaml").write_text(SWEEP)
    shutil.copytree(run, path / "trial-0")
    (path / "trial-0" / REPORT).unlink()


def benchmark(path: Path) -> None:
    """A benchmark with one row."""
    from dnal.bench.jobs import runs
    from dnal.bench.results import write_results
    from dnal.bench.run import row_file
    from dnal.bench.suite import suite_of

    suite = suite_of("smoke")
    path.mkdir()
    (path / "suite.json").write_text(json.dumps(asdict(suite), indent=1) + "\n")
    first = runs(suite)[0]
    row = {
        "suite": "smoke", "network": first.network, "model": NETWORK, "data": "digits", "input": "1x8x8",
        "images": "100", "share": str(first.share), "seed": str(first.seed), "taught": str(int(first.taught)),
        "entry": first.entry, "method": "dnal", "reinitialize": "0", "lambda": "",
        "epochs": "1+1+1", "batch": "32", "rate": "0.05", "rates_tried": "", "accuracy": "0.9",
        "val_accuracy": "0.9", "base_accuracy": "0.91", "macs": "1000", "base_macs": "3000", "used": "0.99",
        "params": "100", "samples": "100", "choosing_samples": "10", "base_seconds": "1", "choosing_seconds": "1",
        "retrain_seconds": "1", "widths": "1 2 3", "dnal": "0.1.0", "torch": "2", "device": "a CPU, 1 thread",
        "precision": "32-true", "rival": "",
    }  # fmt: skip
    write_results(path, {first: row}, runs(suite))
    row_file(path, first).parent.mkdir(parents=True)
    row_file(path, first).write_text(json.dumps(row))


def all_of(folder: Path) -> dict[str, Path]:
    """Everything once, in ``folder``, by its name among the kinds of damage; "load": a run with larger tensors."""
    made: dict[str, Path] = {}

    def make(name: str, how: Callable[[Path], None], file: str) -> None:
        made[name] = folder / name / file
        made[name].parent.mkdir(parents=True)
        how(made[name])

    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    make("load", lambda path: honest(path, "cifar/vgg16_bn", (3, 32, 32), CLASSES), "run")
    make("other", lambda path: honest(path, "cifar/resnet20", (3, 32, 32), 7, seed=1), "run")
    make("run", trained, "run")
    make("unfinished", unfinished, "run")
    make("latency", latency, "run")
    shutil.copy(made["latency"] / LATENCY, made["other"] / LATENCY)
    make("shape", shape, SHAPE)
    make("weights", weights, "weights.safetensors")
    make("npz", arrays, "arrays.npz")
    make("images", images, "images")
    make("sweep.yaml", lambda path: path.write_text(SWEEP) and None, "sweep.yaml")
    make("study", lambda path: study(path, made["run"]), "study")
    make("bench", benchmark, "bench")
    return made
