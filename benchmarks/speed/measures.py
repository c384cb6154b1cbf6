"""What do all generalisation measures of a network cost?

ResNet-20 is trained for a few epochs on a part of CIFAR-10, so that there is an accuracy that noise can take; then all
measures are taken on that part, with the spectral norms of the kernels and with those of the maps (FFT). Seconds of
wall clock and of CPU time over all threads, beside one pass over the part with the network alone, measured before and
after; CPU seconds over the threads are what an idle machine would take, at least.

OMP_NUM_THREADS=2 PYTHONPATH=src:benchmarks python benchmarks/speed/measures.py --data cifar10.npz
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dnal import data, models
from dnal.analyses import generalisation
from dnal.studies.training import fitted
from dnal.train.evaluate import accuracy
from paired import machine
from result_file import append_rows

FIELDS = (
    "network", "images", "spectral", "measures", "seconds", "cpu_seconds", "pass_cpu_seconds", "passes", "accuracy",
    "sigma", "sigma_magnitude", "machine",
)  # fmt: skip


def timed(what: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = what()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    torch.manual_seed(0)
    dataset = data.load(options.data, limit_train=options.images, augment=False)
    x, y = dataset.train.batch(torch.arange(len(dataset.train)), 0)
    initial = models.create("cifar/resnet20", classes=dataset.classes)
    network = fitted(copy.deepcopy(initial), x, y, options.epochs * len(x) // 64, seed=0)
    loader = list(zip(x.split(500), y.split(500), strict=True))
    rows = []
    for exact in (False, True):
        _, _, before = timed(lambda: accuracy(network, loader))
        found, wall, cpu = timed(partial(generalisation, network, initial, loader, exact_spectral=exact))
        _, _, after = timed(lambda: accuracy(network, loader))
        one = (before + after) / 2
        rows.append(
            {
                "network": "cifar/resnet20", "images": len(x), "spectral": "maps" if exact else "kernels",
                "measures": len(found.values), "seconds": round(wall, 1), "cpu_seconds": round(cpu, 1),
                "pass_cpu_seconds": round(one, 2), "passes": round(cpu / one, 1), "accuracy": round(found.accuracy, 4),
                "sigma": found.sigma, "sigma_magnitude": found.sigma_magnitude, "machine": machine(),
            }
        )  # fmt: skip
    print(append_rows(options.out, FIELDS, rows))


if __name__ == "__main__":
    main()
