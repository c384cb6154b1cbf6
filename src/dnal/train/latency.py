"""Wall-clock time of a forward pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnal.space.trace import evaluating


def latency_ms(network: nn.Module, example: Tensor, repeats: int = 30) -> float:
    """Median milliseconds of one forward pass on ``example`` (its batch included), after warming up."""
    return latencies_ms([network], example, repeats)[0]


def latencies_ms(networks: Sequence[nn.Module], example: Tensor, repeats: int = 30) -> list[float]:
    """The same for several networks, measured in turn so that the machine's moods hit all of them alike."""
    times: list[list[float]] = [[] for _ in networks]
    for turn in range(repeats + 5):
        for network, own in zip(networks, times, strict=True):
            with evaluating(network):
                _synchronise(example)
                begun = time.perf_counter()
                network(example)
                _synchronise(example)
            if turn >= 5:
                own.append(1e3 * (time.perf_counter() - begun))
    return [statistics.median(own) for own in times]


def _synchronise(example: Tensor) -> None:
    if example.is_cuda:
        torch.cuda.synchronize(example.device)
