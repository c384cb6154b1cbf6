"""The plain training loop of studies that ask about a start, a rate or a choice of data, and want nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from dnal.train.step import set_lr


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
