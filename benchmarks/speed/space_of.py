"""What does the analysis of a network cost, in forward passes and memory? Torch-Pruning's beside it.

Per network (full size, images of 224 pixels, a batch of two, one thread): the seconds of CPU of a forward pass in eval
mode and of `dnal.Space.of`, the least of as many runs as are asked for, in one process; the most memory that this
process held. In another process beside it: the same of Torch-Pruning's `DependencyGraph().build_dependency`, which
finds what depends on what and tries nothing, or why it fails. dnal's analysis tries every group that it finds. Rows
that the result file has are kept.

pip install '.[baselines]'
OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks python benchmarks/speed/space_of.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import dnal
from coverage_process import emit, forked, limited, peak_mb, told
from result_file import append_rows, read_rows

NETWORKS = (
    "torchvision/resnet18", "torchvision/resnet50", "torchvision/wide_resnet101_2", "torchvision/densenet121",
    "torchvision/mobilenet_v2", "torchvision/efficientnet_b0", "torchvision/convnext_tiny", "torchvision/vit_b_16",
    "torchvision/vit_l_16", "torchvision/swin_b", "timm/eva02_small_patch14_224", "supernet/proxyless",
)  # fmt: skip
FIELDS = (
    "network", "forward_seconds", "space_seconds", "space_over_forward", "variables", "peak_mb",
    "torch_pruning_seconds", "torch_pruning_over_forward", "torch_pruning_fails", "versions",
)  # fmt: skip
PIXELS, BATCH = 224, 2
SECONDS = 600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".csv"))
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="names that contain one of these")
    parser.add_argument("--runs", type=int, default=2, help="of the analysis, of which the fastest counts")
    options = parser.parse_args()
    known = {row["network"] for row in read_rows(options.out)}
    for name in NETWORKS:
        if name not in known and (not options.only or any(text in name for text in options.only)):
            row = forked(partial(of_dnal, name, options.runs), SECONDS)
            row |= forked(partial(of_torch_pruning, name, row.get("forward_seconds")), SECONDS)
            append_rows(options.out, FIELDS, [{field: row.get(field, "") for field in FIELDS}])
            print({field: row.get(field, "") for field in FIELDS}, flush=True)


def built(name: str) -> tuple[nn.Module, Tensor]:
    limited(14)
    network = dnal.models.create(name, classes=10, input_shape=(3, PIXELS, PIXELS)).eval()
    return network, torch.randn(BATCH, 3, PIXELS, PIXELS)


def least(function: Callable[[], object], runs: int) -> float:
    """Seconds of CPU of the fastest run."""
    found = []
    for _ in range(runs):
        begun = time.process_time()
        function()
        found.append(time.process_time() - begun)
    return min(found)


def of_dnal(name: str, runs: int) -> None:
    """Emits what a forward pass and the analysis cost."""
    network, images = built(name)
    with torch.no_grad():
        forward = least(lambda: network(images), 5)
    emit(network=name, forward_seconds=round(forward, 4), versions=f"torch {torch.__version__}")
    space = dnal.Space.of(network, images)
    emit(variables=space.num_variables, peak_mb=peak_mb())
    seconds = least(lambda: dnal.Space.of(network, images), runs)
    emit(space_seconds=round(seconds, 3), space_over_forward=round(seconds / forward, 1))


def of_torch_pruning(name: str, forward: float | None) -> None:
    """Emits what the graph of Torch-Pruning costs, or why there is none."""
    import torch_pruning

    network, images = built(name)
    try:
        seconds = least(lambda: torch_pruning.DependencyGraph().build_dependency(network, example_inputs=images), 2)
    except Exception as error:  # whatever it raises is what a user would see
        emit(torch_pruning_fails=told(error))
        return
    emit(torch_pruning_seconds=round(seconds, 3))
    emit(torch_pruning_over_forward=round(seconds / forward, 1) if forward else "")


if __name__ == "__main__":
    main()
