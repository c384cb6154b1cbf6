"""Training on which pairs of nodes have an event next, and how well that is told."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal.data.events.negatives import Negative
from dnal.data.events.windows import Windows
from dnal.train.average_precision import average_precision_of

Score = Callable[[dict[str, Tensor], int], Tensor]
"""Inputs of a batch, and its first event -> a score for each pair (Q,)."""


def trained_on_links(
    network: nn.Module, windows: Windows, first: int, last: int, *, epochs: int, lr: float, seed: int
) -> None:
    """Trains a network in place with Adam on the events from ``first`` to before ``last``, in the order of time, each
    with a random pair beside it, which is another one in each epoch; it is left in eval mode."""
    optimizer = torch.optim.Adam(network.parameters(), lr)
    network.train()
    for epoch in range(epochs):
        for inputs, labels in windows.batches(first, last, "random", 1000 * seed + epoch):
            optimizer.zero_grad()
            F.cross_entropy(network(**inputs), labels).backward()
            optimizer.step()
    network.eval()


def average_precision(score: Score, windows: Windows, first: int, last: int, kind: Negative, seed: int = 0) -> float:
    """Of the scores of all events from ``first`` to before ``last``, and as many pairs without one."""
    said, wanted = [], []
    start = first
    with torch.no_grad():
        for inputs, labels in windows.batches(first, last, kind, seed):
            said.append(score(inputs, start))
            wanted.append(labels[0])
            start += windows.batch
    return average_precision_of(torch.cat(said), torch.cat(wanted))
