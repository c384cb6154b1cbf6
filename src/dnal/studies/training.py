"""The plain training loop of studies that ask about a start, a rate or a choice of data, and want nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, TensorDataset

from dnal.train.loader import endless
from dnal.train.optimizers import sgd
from dnal.train.schedule import cosine
from dnal.train.step import set_lr

BATCH = 64


def plain_steps(
    network: nn.Module, optimizer: Optimizer, rates: Iterable[float], batches: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[float]:
    """Trains a classifier in place, a step each time the next loss is asked for.

    Args:
        rates: the learning rate of each step; as many steps are done as there are rates, or batches.

    Yields:
        the cross entropy of each batch. Where it is no finite number, the step is left out.
    """
    network.train()
    for lr, (inputs, targets) in zip(rates, batches, strict=False):
        set_lr(optimizer, lr)
        optimizer.zero_grad()
        loss = F.cross_entropy(network(inputs), targets)
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()
            optimizer.step()
        yield value


def fitted(network: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int, lr: float = 0.1) -> nn.Module:
    """The network, in eval mode, after so many steps of SGD with one cosine, in place, on images (N, C, H, W) that are
    flipped by lot, except for digits."""
    rates = (cosine(step / steps, lr, 0.05) for step in range(steps))
    for _ in plain_steps(network, sgd(network, lr), rates, flipped_batches(x, y, seed)):
        pass
    return network.eval()


def flipped_batches(x: Tensor, y: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images in an order that follows from the seed, without end, flipped by lot, except for digits."""
    draw = torch.Generator().manual_seed(seed)
    loader = DataLoader(TensorDataset(x, y), min(BATCH, len(x)), shuffle=True, drop_last=True, generator=draw)
    for inputs, targets in endless(loader):
        if inputs.shape[-1] < 16:
            yield inputs, targets
        else:
            yield torch.where(torch.rand(len(inputs), 1, 1, 1, generator=draw) < 0.5, inputs.flip(3), inputs), targets
