"""Training on the classes of nodes that studies of graph networks share, and their data."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnal import data
from dnal.train.evaluate import IGNORED


@dataclass(frozen=True)
class Nodes:
    """A graph with the classes of its nodes.

    Attributes:
        inputs: of a network: features (1, N, F), sparse where most of them are zero, and edges (1, 2, E).
        train, val, test: classes (1, N), -100 where a node is not of the part.
    """

    inputs: dict[str, Tensor]
    train: Tensor
    val: Tensor
    test: Tensor
    classes: int

    @property
    def features(self) -> int:
        """Of a node."""
        return self.inputs["features"].size(-1)


@lru_cache(maxsize=2)
def nodes_of(name: str, root: str | None = None) -> Nodes:
    """The graph of a data set.

    Args:
        name: a name of `dnal data`, or a file.
    """
    found = data.load(name, root=root, kind="graphs")
    whole: Any = found.train.batch(torch.arange(1), 0)
    train, val, test = (part.batch(torch.arange(1), 0)["labels"] for part in (found.train, found.val, found.test))
    features = whole["features"]
    if int(features.count_nonzero()) < 0.1 * features.numel():
        features = features.to_sparse().coalesce()
    return Nodes({"features": features, "edges": whole["edges"]}, train, val, test, found.classes)


@dataclass(frozen=True)
class Rule:
    """How networks of nodes are trained: Adam, with weight decay on all parameters, on all of the graph in each epoch;
    the weights of the lowest validation loss are kept.

    Attributes:
        epochs: the most. patience: after half of the epochs it ends where the validation loss is above the mean of so
            many epochs before.
    """

    lr: float = 0.01
    weight_decay: float = 0.005
    epochs: int = 1000
    patience: int = 100


def trained(network: nn.Module, nodes: Nodes, rule: Rule) -> int:
    """Trains a network of nodes in place; it is left in eval mode, with the weights of the lowest validation loss.

    Returns:
        the epochs.

    Source: the authors' code of Liu, Gao and Ji, "Towards Deeper Graph Neural Networks" (KDD 2020).
    """
    optimizer = torch.optim.Adam(network.parameters(), rule.lr, weight_decay=rule.weight_decay)
    best, kept = math.inf, copy.deepcopy(network.state_dict())
    losses: list[float] = []
    for epoch in range(rule.epochs):
        network.train()
        optimizer.zero_grad()
        loss: Tensor = F.cross_entropy(network(**nodes.inputs), nodes.train)
        loss.backward()
        optimizer.step()
        network.eval()
        with torch.no_grad():
            losses.append(float(F.cross_entropy(network(**nodes.inputs), nodes.val)))
        if losses[-1] < best:
            best, kept = losses[-1], copy.deepcopy(network.state_dict())
        before = losses[-rule.patience - 1 : -1]
        if epoch > rule.epochs // 2 and len(before) == rule.patience and losses[-1] > sum(before) / rule.patience:
            break
    network.load_state_dict(kept)
    return len(losses)


def share_right(logits: Tensor, classes: Tensor) -> float:
    """Of the nodes that count, which share is right; logits (1, classes, N) and classes (1, N)."""
    counted = classes != IGNORED
    return float((logits.argmax(1) == classes)[counted].double().mean())
