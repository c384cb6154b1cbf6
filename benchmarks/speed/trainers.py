"""What does a step of self-tuning and of co-teaching cost, beside what their arithmetic says?

In CPU seconds of one thread, in turns within one run, over a plain step of SGD on the same batch. `arithmetic` is what
the card of the technique says, of the same run's plain step and forward pass:

* self-tuning, training: every layer computes twice, two plain steps; validation, where a batch moves the
  hyperparameters: the same;
* co-teaching: a plain step on the share of the batch that is not forgotten, in two halves for two networks, and a
  forward pass over the whole batch that chooses.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/trainers.py
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal import models
from dnal.techniques import co_teach
from dnal.techniques.stn import SelfTuning
from paired import medians
from result_file import write_rows

NETWORKS = (("vgg_small", (3, 16, 16)), ("cifar/resnet20", (3, 32, 32)))
BATCH, LR, FORGET = 64, 0.01, 0.25


def descending(weights: list[nn.Parameter], loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(weights, LR, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def measure(name: str, shape: tuple[int, int, int], repeats: int) -> list[dict[str, object]]:
    torch.manual_seed(0)
    network = models.create(name, classes=10, input_shape=shape).train()
    x, y = torch.randn(BATCH, *shape), torch.randint(0, 10, (BATCH,))
    plain, one, other, evaluated = (copy.deepcopy(network) for _ in range(4))
    evaluated.eval()
    tuning = SelfTuning(copy.deepcopy(network), ["input-noise"])
    tuning.network.train()

    def forward() -> None:
        with torch.no_grad():
            evaluated(x)

    ways = {
        "plain": descending([*plain.parameters()], lambda: F.cross_entropy(plain(x), y)),
        "forward": forward,
        "self-tuning, training": descending(tuning.weights(), lambda: tuning.training_loss((x, y))),
        "self-tuning, validation": descending([tuning.free, tuning.rho], lambda: tuning.validation_loss((x, y))),
        "co-teaching": descending(
            [*one.parameters(), *other.parameters()], lambda: sum(co_teach(one, other, (x, y), FORGET), x.new_zeros(()))
        ),
    }
    median = medians(ways, repeats, 3, time.process_time)
    forward_ratio = median["forward"] / median["plain"]
    arithmetic = {
        "self-tuning, training": 2.0, "self-tuning, validation": 2.0, "co-teaching": 1 - FORGET + forward_ratio,
    }  # fmt: skip
    return [
        {
            "network": name, "step": way, "batch": BATCH, "repeats": repeats,
            "plain_ms": f"{1e3 * median['plain']:.1f}",
            "ratio": f"{median[way] / median['plain']:.3f}", "arithmetic": f"{own:.3f}",
            "torch": torch.__version__.split("+")[0],
        }
        for way, own in arithmetic.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "trainers.csv")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    write_rows(options.out, [row for each in NETWORKS for row in measure(*each, options.repeats)])


if __name__ == "__main__":
    main()
