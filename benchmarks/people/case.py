"""A network with what it is called with, and the usual kinds of inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | tuple[Any, ...] | dict[str, Any]
Make = Callable[[int, int], Inputs]
"""(batch, size) -> inputs, the same ones each time."""
Network = Callable[[], "Case"]


@dataclass(frozen=True)
class Case:
    """A network and what it is called with.

    Attributes:
        network: with random weights.
        inputs: of a batch and a size: pixels, tokens, samples or frames.
        sizes: at which the network is checked, the first also where its Space is found; one where it takes no other.
        training: inputs for a step in training mode, where those are others (a detector wants its targets).
        torch_counts: whether torch's FlopCounterMode knows all of its products.
        pairs: whether examples of a batch meet each other (all images with all texts), so that what one example costs
            depends on the batch.
        chooses: whether it decides by its data how much it computes (the proposals of a two-stage detector): what is
            told holds for the example, and the compact network, which decides by itself, is counted on its own.
        selects: whether it returns the best few of what it finds: of two that are equal up to rounding it may return
            either, so that it is compared in double precision.
    """

    network: nn.Module
    inputs: Make
    sizes: tuple[int, ...]
    training: Make | None = None
    torch_counts: bool = True
    pairs: bool = False
    chooses: bool = False
    selects: bool = False


def with_statistics(network: nn.Module, inputs: tuple[Any, ...]) -> nn.Module:
    """The network with the batch statistics of these inputs, as training leaves them. With those that a deep network
    with small weights begins with, nothing of an image is left at its end. In place."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(*inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network


def generator(batch: int, size: int) -> torch.Generator:
    return torch.Generator().manual_seed(100 * batch + size)


def images(channels: int = 3) -> Make:
    """(N, C, size, size)."""
    return lambda n, s: torch.randn(n, channels, s, s, generator=generator(n, s))


def waves(channels: int | None = 1) -> Make:
    """(N, C, size), or (N, size) without channels."""
    shape = () if channels is None else (channels,)
    return lambda n, s: torch.randn(n, *shape, s, generator=generator(n, s))


def rows(features: int) -> Make:
    """(N, size, features): a sequence of vectors."""
    return lambda n, s: torch.randn(n, s, features, generator=generator(n, s))


def video(frames: int, channels: int = 3) -> Make:
    """(N, C, frames, size, size)."""
    return lambda n, s: torch.randn(n, channels, frames, s, s, generator=generator(n, s))


def whole(batch: int, size: int, vocabulary: int) -> Tensor:
    """Token numbers (N, size); the first few are for special tokens."""
    return torch.randint(5, vocabulary, (batch, size), generator=generator(batch, size))


def tokens(vocabulary: int = 120) -> Make:
    """(N, size) token numbers."""
    return lambda n, s: whole(n, s, vocabulary)
