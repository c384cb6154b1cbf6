"""Random graphs of given sizes, to compare those of programs with."""

from __future__ import annotations

import random
from itertools import combinations

from dnal.models.symbolic.graph import PORTS, PortGraph, graph_of

TRIES = 100


def random_graph(nodes: int, edges: int, draw: random.Random) -> PortGraph:
    """A valid graph: each node but the first is joined to one before it, and the other edges to pairs drawn among those
    that have the fewest.

    Args:
        nodes: at least 2. edges: at least ``nodes - 1``.

    Raises:
        ValueError: there are no such graphs, or no ports for so many edges.

    Examples:
        >>> graph = random_graph(4, 5, random.Random(0))
        >>> graph.valid, len(graph.nodes), len(graph.edges)
        (True, 4, 5)
    """
    if nodes < 2 or edges < nodes - 1 or edges > PORTS * nodes * (nodes - 1) // 2:
        raise ValueError(f"no valid graph has {nodes} nodes and {edges} edges")
    for _ in range(TRIES):
        pairs = [(draw.randrange(node), node) for node in range(1, nodes)]
        while len(pairs) < edges:
            counts = {pair: pairs.count(pair) for pair in combinations(range(nodes), 2)}
            fewest = min(counts.values())
            pairs.append(draw.choice([pair for pair, count in counts.items() if count == fewest]))
        try:
            return graph_of(pairs)
        except ValueError:  # too many edges met at a node
            continue
    raise ValueError(f"a graph of {nodes} nodes and {edges} edges has no ports for all of them")
