"""What `coverage.py` asks of one network, in a process of its own: dnal, and Torch-Pruning beside it.

Each function emits what it has found so far, so that a process that ends early leaves that behind.
"""

from __future__ import annotations

import signal
import time
from collections import Counter

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import coverage_exact
import dnal
from coverage_process import emit, full, limited, peak_mb, told
from dnal import models
from dnal.space.space import Norms

REASONS = 3


def main(tool: str, name: str, pixels: int, memory_gb: float, seconds: int, norms: Norms) -> None:
    """Runs one tool on one network under limits of memory and, for each stage, time."""
    limited(memory_gb)
    try:
        TOOLS[tool](name, pixels, seconds, norms)
    except Exception as error:  # the row says what a user would have seen
        emit(status="oom" if full(error) else "crash", reason=told(error))
    finally:
        emit(peak_mb=peak_mb())


def stage(name: str, seconds: int) -> None:
    """Begins a stage: the process is ended if it lasts longer."""
    signal.alarm(seconds)
    emit(stage=name)


def of_dnal(name: str, pixels: int, seconds: int, norms: Norms) -> None:
    """Analysis with its default probing, then the check."""
    stage("building", seconds)
    network = coverage_exact.randomise(build(name, pixels))
    emit(params=sum(p.numel() for p in network.parameters()))
    stage("analysis", seconds)
    begun = time.process_time()
    space = dnal.Space.of(network, torch.randn(1, 3, pixels, pixels), norms=norms)
    emit(
        seconds=round(time.process_time() - begun, 2),
        variables=space.num_variables,
        groups=len(space.groups),
        removable_share=round(space.removable_share, 4),
        fixed_because=fixed_because(space),
    )
    if not space.num_variables:
        emit(status="frozen", reason="nothing may vary")
        return
    stage("checking", seconds)
    verdict = coverage_exact.checked(network, space, pixels)
    emit(
        status="exact" if verdict.exact else "not exact",
        difference=f"{verdict.difference:.1e}",
        control=f"{verdict.control:.1e}",
        second_size=verdict.second_size,
        macs=f"{verdict.macs:.1e}",
        reason=verdict.reason,
    )


def of_torch_pruning(name: str, pixels: int, seconds: int, _: Norms) -> None:
    """Half the channels by its group magnitude pruner, as its README shows it, with the classifier protected."""
    import torch_pruning

    stage("building", seconds)
    network = build(name, pixels)
    images = torch.randn(1, 3, pixels, pixels)
    with torch.no_grad():
        expected = network(images).shape
    macs, params = counted(network, images)
    stage("pruning", seconds)
    begun = time.perf_counter()
    torch_pruning.pruner.BasePruner(
        network,
        images,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=classifier(network),
        round_to=8,
    ).step()
    emit(seconds=round(time.perf_counter() - begun, 2))
    with torch.no_grad():
        got = network(torch.randn(2, 3, pixels, pixels)).shape
    left = counted(network, images)
    emit(macs_share=round(left[0] / macs, 4), params_share=round(left[1] / params, 4))
    right = got == (2, *expected[1:])
    reason = "" if right else f"the output has the shape {tuple(got)}"
    if right and left[1] == params:
        reason = "nothing was removed"
    emit(status="runs" if not reason else "unchanged" if right else "wrong shape", reason=reason)


TOOLS = {"dnal": of_dnal, "torch-pruning": of_torch_pruning}


def build(name: str, pixels: int) -> nn.Module:
    """The network with random weights, in eval mode."""
    return models.create(name, input_shape=(3, pixels, pixels)).eval()


def classifier(network: nn.Module) -> list[nn.Module]:
    """The last layer that has as many outputs as there are classes, if there is one."""
    heads = [
        module
        for module in network.modules()
        if (isinstance(module, nn.Linear) and module.out_features == 1000)
        or (isinstance(module, nn.Conv2d) and module.out_channels == 1000)
    ]
    return heads[-1:]


def counted(network: nn.Module, images: torch.Tensor) -> tuple[int, int]:
    """Multiply-accumulates as torch counts them, and parameters."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(images)
    return counter.get_total_flops() // 2, sum(p.numel() for p in network.parameters())


def fixed_because(space: dnal.Space) -> str:
    """The reasons that keep the most parameter entries whole."""
    kept: Counter[str] = Counter()
    for name, reason in space.fixed:
        if name in space.sources:
            size = 1
            for length in space.shapes[name]:
                size *= length
            kept[reason.partition(": ")[2]] += size
    return "; ".join(reason for reason, _ in kept.most_common(REASONS))
