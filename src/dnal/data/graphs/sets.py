"""A generated graph, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dnal.data.graphs.raw import RawGraph

NODES, BLOCKS, FEATURES = 600, 4, 16
WITHIN, BETWEEN = 0.04, 0.004
NOISE = 2.0
LABELLED, HELD_OUT = 20, 30
"""Nodes of each block that are trained on, and looked at meanwhile."""


def read_blocks(root: Path | None, download: bool = True) -> RawGraph:
    """A stochastic block model: nodes of one block are joined ten times as often as others, and have about the same
    features, under so much noise that few nodes are told by their own."""
    draw = np.random.RandomState(0)  # whose stream is promised never to change
    y = np.arange(NODES) % BLOCKS
    joined = np.triu(draw.random_sample((NODES, NODES)) < np.where(y[:, None] == y, WITHIN, BETWEEN), k=1)
    one, other = np.nonzero(joined)
    centres = draw.standard_normal((BLOCKS, FEATURES))
    features = (centres[y] + NOISE * draw.standard_normal((NODES, FEATURES))).astype(np.float32)
    number = np.arange(NODES) // BLOCKS  # within the block
    train, val = number < LABELLED, (number >= LABELLED) & (number < LABELLED + HELD_OUT)
    edges = np.stack([np.concatenate([one, other]), np.concatenate([other, one])])
    return RawGraph(features, edges, y, train, val, ~(train | val))
