"""Architectures that the tests of predictors share."""

from __future__ import annotations

import numpy as np

from dnal.predictors import Graph, cells
from dnal.predictors.graph import INPUT, NOTHING, OUTPUT, SAME

EDGES = np.random.default_rng(0).integers(5, size=(60, 6))
"""Of cells as NAS-Bench-201 has them."""
CELLS = cells(EDGES)
WORTH = np.array([0.0, 1.0, 2.0, 3.0, 0.5])[EDGES].sum(1) + EDGES[:, 3] * (EDGES[:, 0] == 3)
"""An invented value of each."""


def diamond() -> Graph:
    """Two ways from the input to the output: 4 then 5, and one that passes nothing; a third that only passes on."""
    adjacency = np.zeros((6, 6), bool)
    adjacency[0, [1, 3, 4]] = adjacency[1, 2] = adjacency[[2, 3, 4], 5] = True
    return Graph([INPUT, 4, 5, NOTHING, SAME, OUTPUT], adjacency)


def drawn_graph(rng: np.random.Generator, nodes: int) -> Graph:
    """Any graph of so many nodes, in which every node but the first reads something."""
    adjacency = np.triu(rng.random((nodes, nodes)) < 0.5, 1)
    for node in range(1, nodes):
        adjacency[rng.integers(node), node] = True
    return Graph([INPUT, *rng.integers(2, 8, nodes - 2), OUTPUT], adjacency)
