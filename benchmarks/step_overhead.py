"""What learning the architecture adds to a training step.

    python benchmarks/step_overhead.py --out benchmarks/step_overhead.csv

Three steps on the same batch, in turn within one run, each with its own copy of the network: a plain training step; a
joint step of the method `dnal` (gates at the readers, task and cost gradients, SGD on weights, Adam on s, the
projection onto the budget); and the paper's explicit scale layer after every batch norm (arXiv 2103.02126),
trained jointly with the weights. Reported: the median time of the second and third over the first. One thread by
default.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal import models
from dnal.gates.gated import Gated
from dnal.methods.dnal.search import START, BudgetSearch
from dnal.train.optimizers import sgd
from paired import medians
from result_file import write_rows

NETWORKS = (
    ("cifar/resnet20", (3, 32, 32)),
    ("cifar/vgg16_bn_quarter", (3, 32, 32)),
    ("cifar/mobilenet_v2", (3, 32, 32)),
    ("torchvision/resnet18", (3, 64, 64)),
)
SEARCH = 1000
"""Steps of the search whose first steps are timed; the longer it is, the rarer its projections (every tenth here)."""


class ScaleLayer(nn.Module):
    """A batch norm followed by x_c * sigmoid(delta * s_c)."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.norm = norm
        self.s = nn.Parameter(torch.ones(norm.num_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) * torch.sigmoid(2.0 * self.s)[:, None, None]


def with_scale_layers(network: nn.Module) -> nn.Module:
    """The network with a scale layer behind each batch norm."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and not isinstance(module, ScaleLayer):
                setattr(module, name, ScaleLayer(child))
    return network


def plain_step(network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    optimizer = sgd(network, 1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(network(x), y).backward()
        optimizer.step()

    return step


def joint_step(network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    space = dnal.Space.of(network, x[:2])
    gated = Gated(network, space, start=START).train()
    limits = {"macs": 0.3 * space.full_cost["macs"]}
    search = BudgetSearch(gated, space, limits, SEARCH)
    optimizer = sgd(network, 1e-3)

    def step() -> None:
        gated.zero_grad(set_to_none=True)
        F.cross_entropy(gated(x), y).backward()
        optimizer.step()
        search.step()

    return step


def scale_layer_step(network: nn.Module, x: Tensor, y: Tensor) -> Callable[[], None]:
    network = with_scale_layers(network)
    scales = [module.s for module in network.modules() if isinstance(module, ScaleLayer)]
    for s in scales:
        s.requires_grad_(False)  # so that SGD owns the weights only
    optimizer = sgd(network, 1e-3)
    for s in scales:
        s.requires_grad_(True)
    architecture = torch.optim.Adam(scales, lr=0.01)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        architecture.zero_grad(set_to_none=True)
        loss = F.cross_entropy(network(x), y)
        (loss + 1e-4 * torch.stack([torch.sigmoid(s).sum() for s in scales]).sum()).backward()
        optimizer.step()
        architecture.step()

    return step


def measure(name: str, shape: tuple[int, int, int], batch: int, repeats: int) -> dict[str, object]:
    torch.manual_seed(0)
    network = models.create(name, classes=10, input_shape=shape).to(memory_format=torch.channels_last).train()
    x = torch.randn(batch, *shape).to(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (batch,))
    steps = {
        "plain": plain_step(copy.deepcopy(network), x, y),
        "dnal": joint_step(copy.deepcopy(network), x, y),
        "scale layer": scale_layer_step(copy.deepcopy(network), x, y),
    }
    median = medians(steps, repeats, warm=5)
    return {
        "network": name,
        "input": "x".join(map(str, shape)),
        "batch": batch,
        "threads": torch.get_num_threads(),
        "repeats": repeats,
        "plain_ms": f"{1e3 * median['plain']:.1f}",
        "dnal_ratio": f"{median['dnal'] / median['plain']:.3f}",
        "scale_layer_ratio": f"{median['scale layer'] / median['plain']:.3f}",
        "torch": torch.__version__.split("+")[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
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
