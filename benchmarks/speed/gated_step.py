"""What do gates add to a training step, in time and in what is kept for the backward pass?

Three steps on the same batch in turn within one run, each with its own copy of the network: a plain one (forward,
backward, SGD); the whole joint step of the method `dnal` (gates, SGD on weights, gradient of the cost, Adam on s,
projection) as it is; and with the gates as they were before, an index per layer, always at its weight, and the products
kept. Images of 64 pixels, one thread, seconds that the process computed. Kept: what a forward pass allocates and has
not given back at its end.

OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/gated_step.py
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import dnal
from dnal.gates.gated import Gated, tensor_of
from dnal.methods.dnal.search import START, BudgetSearch
from dnal.space.surgery.substitute import call_with
from dnal.train.optimizers import sgd
from paired import machine, medians
from result_file import append_rows, read_rows

NETWORKS = (
    "torchvision/resnet18", "torchvision/resnet50", "torchvision/mobilenet_v2", "torchvision/densenet121",
    "torchvision/vit_b_16", "torchvision/convnext_tiny",
)  # fmt: skip
BATCHES, PIXELS, SEARCH = (8, 64), 64, 1000
FIELDS = (
    "network", "batch", "plain_ms", "ratio", "before_ratio", "gates_ratio", "kept_mb", "kept_ratio",
    "kept_before_ratio", "machine",
)  # fmt: skip


class Before(Gated):
    """The gates as they were."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        gates = self.gates()
        extended = torch.cat((gates, gates.new_ones(1)))
        weights: dict[str, Tensor] = {}
        for (name, dim), ids in zip(self._places, self._ids.split(self._sizes), strict=False):
            weight = weights.get(name, tensor_of(self.network, name))
            shape = [-1 if d == dim else 1 for d in range(weight.dim())]
            weights[name] = weight * extended[ids].to(weight.dtype).view(shape)
        return call_with(self.network, weights, self._slots, args, kwargs)


def step_of(network: nn.Module, x: Tensor, y: Tensor, search: BudgetSearch | None = None) -> Callable[[], None]:
    own = network.network if isinstance(network, Gated) else network
    optimizer = sgd(own, 1e-3)

    def step() -> None:
        network.zero_grad(set_to_none=True)
        F.cross_entropy(network(x), y).backward()
        optimizer.step()
        if search is not None:
            search.step()

    return step


def kept(network: nn.Module, x: Tensor, y: Tensor) -> int:
    """Bytes that are allocated between the beginning of a forward pass and its end, and not given back."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        loss = F.cross_entropy(network(x), y)
    loss.backward()
    network.zero_grad(set_to_none=True)
    return sum(event.nbytes() for event in seen.profiler.kineto_results.events() if event.name() == "[memory]")


def measured(name: str, batch: int, repeats: int) -> dict[str, object]:
    torch.manual_seed(0)
    network = dnal.models.create(name, classes=10, input_shape=(3, PIXELS, PIXELS)).train()
    x, y = torch.randn(batch, 3, PIXELS, PIXELS), torch.randint(0, 10, (batch,))
    space = dnal.Space.of(network, x[:2], probe=False)
    limits = {"macs": 0.3 * space.full_cost["macs"]}
    now, gates = (Gated(copy.deepcopy(network), space, start=START).train() for _ in range(2))
    before = Before(copy.deepcopy(network), space, start=START).train()
    for one in (now, gates, before):
        one.hard = True
    bytes_of = {"plain": kept(network, x, y), "now": kept(now, x, y), "before": kept(before, x, y)}
    steps = {
        "plain": step_of(network, x, y),
        "now": step_of(now, x, y, BudgetSearch(now, space, limits, SEARCH)),
        "gates": step_of(gates, x, y),
        "before": step_of(before, x, y, BudgetSearch(before, space, limits, SEARCH)),
    }
    seconds = medians(steps, repeats, 2, time.process_time)
    return {
        "network": name, "batch": batch, "plain_ms": round(1e3 * seconds["plain"], 1),
        "ratio": round(seconds["now"] / seconds["plain"], 3),
        "before_ratio": round(seconds["before"] / seconds["plain"], 3),
        "gates_ratio": round(seconds["gates"] / seconds["plain"], 3),
        "kept_mb": round(bytes_of["plain"] / 2**20, 1),
        "kept_ratio": round(bytes_of["now"] / bytes_of["plain"], 3),
        "kept_before_ratio": round(bytes_of["before"] / bytes_of["plain"], 3), "machine": machine(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="networks that contain one of these")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = {(row["network"], row["batch"]) for row in read_rows(options.out)}
    for name in NETWORKS:
        for batch in BATCHES:
            if (name, str(batch)) in known or (options.only and not any(text in name for text in options.only)):
                continue
            row = measured(name, batch, options.repeats)
            print(append_rows(options.out, FIELDS, [row]), flush=True)


if __name__ == "__main__":
    main()
