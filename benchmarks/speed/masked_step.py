"""What does it cost a training step that masked weights are held at zero?

Two steps on the same batch in turn within one run, each with its own copy of the network: a plain one (forward,
backward, SGD with momentum and weight decay), and one after which the masks are applied again, as in every round of
`dnal sparsify`. Nine of ten weights are masked. One thread, seconds that the process computed; the ratio is the median
over pairs of neighbouring steps, and beside it lies its interval of 95 % by the bootstrap. The holding alone is timed
too, as a share of a plain step, which tells more where the machine is busy.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/masked_step.py
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

from dnal import models
from dnal.changes.masks import HeldMasks
from dnal.data.objective import absolute_error
from dnal.methods.sparsity.masks import largest
from dnal.train.optimizers import sgd
from dnal.train.step import Step
from dnal.train.technique import Scene
from paired import machine
from result_file import write_rows

CASES = (
    ("vgg_small", (1, 8, 8), 64), ("vgg_small", (3, 32, 32), 8), ("cifar/resnet20", (3, 32, 32), 8),
    ("torchvision/mobilenet_v2", (3, 64, 64), 8), ("restoration/promptir-tiny", (3, 32, 32), 8),
)  # fmt: skip
KEEP, LR, WARM, HOLDS = 0.1, 0.01, 3, 30


def stepping(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], *, masked: bool) -> Step:
    weights = {name: weight.detach() for name, weight in network.named_parameters() if weight.dim() > 1}
    hooks = [HeldMasks(largest(weights, KEEP), KEEP)] if masked else []
    for hook in hooks:
        hook.prepare(network, Scene("retrain", 1, 1000))
    step = Step(Fabric(accelerator="cpu", devices=1), network, sgd(network, LR), loss, lambda _: LR, hooks)
    step.module.train()
    return step


def measured(name: str, shape: tuple[int, int, int], batch: int, repeats: int) -> dict[str, object]:
    torch.manual_seed(0)
    restores = models.kind_of(name) == "restoration"
    network = models.create(name, classes=3 if restores else 10, input_shape=shape)
    images = torch.rand(batch, *shape)
    pair = (images, torch.rand(batch, *shape) if restores else torch.randint(0, 10, (batch,)))
    loss = absolute_error if restores else F.cross_entropy
    ways = [stepping(copy.deepcopy(network), loss, masked=masked) for masked in (False, True)]
    times = np.zeros((repeats, 2))
    for turn in range(-WARM, repeats):
        for which in (0, 1) if turn % 2 else (1, 0):
            begun = time.process_time()
            ways[which](pair, 0.5)
            if turn >= 0:
                times[turn, which] = time.process_time() - begun
    ratios = times[:, 1] / times[:, 0]
    begun = time.process_time()
    for _ in range(HOLDS):
        ways[1].techniques[0].after_step(ways[1])
    alone = (time.process_time() - begun) / HOLDS
    draw = np.random.default_rng(0)
    low, high = np.quantile(np.median(draw.choice(ratios, (2000, repeats)), axis=1), (0.025, 0.975))
    return {
        "network": name, "batch": batch, "pairs": repeats, "weights": sum(p.numel() for p in network.parameters()),
        "plain_ms": f"{1e3 * np.median(times[:, 0]):.1f}", "ratio": f"{np.median(ratios):.3f}", "low": f"{low:.3f}",
        "high": f"{high:.3f}", "holding_share": f"{alone / np.median(times[:, 0]):.4f}", "machine": machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    arguments = parser.parse_args()
    rows = [measured(*case, arguments.repeats) for case in CASES]
    for row in rows:
        print(" ".join(f"{name}={value}" for name, value in row.items()))
    write_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
