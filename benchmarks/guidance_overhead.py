"""What a guide adds to a training step, and how much of it is its forward pass.

    OMP_NUM_THREADS=1 python benchmarks/guidance_overhead.py --out benchmarks/guidance_overhead.csv

Four things on the same batch, in turn within one run: a plain training step; one with a guide of the same network; the
guide's forward pass alone; and the distances alone, with their gradients, of activations that are there already.
Reported: the median CPU time of each over that of the plain step. What is left of a guided step after the three others
is the hooks. One thread by default.
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
from dnal.space.surgery.running import evaluating
from dnal.techniques.guidance import Guide, layer_map, linear_cka
from dnal.techniques.guidance.activations import Activations
from dnal.train.optimizers import sgd
from paired import medians
from result_file import write_rows

NETWORKS = (("cifar/vgg16_bn_quarter", (3, 16, 16)), ("cifar/resnet20", (3, 16, 16)), ("cifar/resnet20", (3, 32, 32)))


def step_of(network: nn.Module, x: Tensor, y: Tensor, guide: Guide | None) -> Callable[[], None]:
    optimizer = sgd(network, 1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(x), y)
        (loss if guide is None else loss + guide.distance(x)).backward()
        optimizer.step()

    return step


def distances_of(network: nn.Module, x: Tensor) -> Callable[[], None]:
    heard = Activations(network, graph=False)
    with torch.no_grad():
        network(x)
    said = heard.hidden(len(x))
    heard.close()
    mine = [each.clone().requires_grad_() for each in said]
    pairs = layer_map(len(said), len(mine))

    def distances() -> None:
        torch.stack([1 - linear_cka(mine[a], said[b]) for a, b in pairs.items()]).sum().backward()

    return distances


def measure(name: str, shape: tuple[int, int, int], batch: int, repeats: int) -> dict[str, object]:
    torch.manual_seed(0)
    network = models.create(name, classes=10, input_shape=shape).train()
    guide = copy.deepcopy(network).eval()
    x, y = torch.randn(batch, *shape), torch.randint(0, 10, (batch,))
    guided = copy.deepcopy(network)

    def forward() -> None:
        with evaluating(guide):
            guide(x)

    parts = {
        "plain": step_of(copy.deepcopy(network), x, y, None),
        "guided": step_of(guided, x, y, Guide(guided, guide)),
        "forward": forward,
        "distances": distances_of(copy.deepcopy(network), x),
    }
    median = medians(parts, repeats, 2, time.process_time)
    return {
        "network": name, "input": "x".join(map(str, shape)), "batch": batch, "threads": torch.get_num_threads(),
        "repeats": repeats, "plain_ms": f"{1e3 * median['plain']:.1f}",
        **{f"{kind}_ratio": f"{median[kind] / median['plain']:.3f}" for kind in ("guided", "forward", "distances")},
        "torch": torch.__version__.split("+")[0],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    for name, shape in NETWORKS:
        rows.append(measure(name, shape, options.batch, options.repeats))
        print(rows[-1], flush=True)
    if options.out is not None:
        write_rows(options.out, rows)


if __name__ == "__main__":
    main()
