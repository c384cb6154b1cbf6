"""Graphs with ports: what a program builds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

PORTS = 10
"""Of a node, as in the authors' code."""


class Edge(NamedTuple):
    """Between two nodes, at the same port of both.

    Attributes:
        id: its place among all nodes and edges. one, other: ids of nodes.
    """

    id: int
    one: int
    other: int
    port: int


@dataclass(frozen=True)
class PortGraph:
    """Nodes and edges, which share consecutive ids in the order in which they were made; an edge takes a port of both
    of its nodes, and so several edges may join the same two.

    Attributes:
        nodes: their ids, the first of which is 0.
    """

    nodes: tuple[int, ...] = (0,)
    edges: tuple[Edge, ...] = ()

    @property
    def elements(self) -> int:
        """Nodes and edges."""
        return len(self.nodes) + len(self.edges)

    @property
    def apart(self) -> bool:
        """Whether the newest node has no edge, with other nodes there: no other one can be without."""
        newest = self.nodes[-1]
        return len(self.nodes) > 1 and all(newest not in (edge.one, edge.other) for edge in self.edges)

    @property
    def valid(self) -> bool:
        """Whether it has several nodes, all of them joined."""
        return len(self.nodes) > 1 and len(_reached(self)) == len(self.nodes)

    def beyond(self, node: int, port: int) -> int | None:
        """The node at the other end of the edge at a port, or none."""
        for edge in self.edges:
            if edge.port == port and node in (edge.one, edge.other):
                return edge.other if edge.one == node else edge.one
        return None

    def with_node(self) -> PortGraph:
        """The graph with one more node, which has no edge."""
        return PortGraph((*self.nodes, self.elements), self.edges)

    def joined(self, one: int, other: int, port: int) -> PortGraph:
        """The graph with one more edge; the same graph where both are one node, or the port of either is taken."""
        if one == other or self.beyond(one, port) is not None or self.beyond(other, port) is not None:
            return self
        return PortGraph(self.nodes, (*self.edges, Edge(self.elements, one, other, port)))

    def neighbours(self) -> dict[int, frozenset[int]]:
        """Of each node those that an edge joins to it, however many do."""
        found: dict[int, set[int]] = {node: set() for node in self.nodes}
        for edge in self.edges:
            found[edge.one].add(edge.other)
            found[edge.other].add(edge.one)
        return {node: frozenset(own) for node, own in found.items()}


def graph_of(pairs: Iterable[tuple[int, int]]) -> PortGraph:
    """A graph of pairs of nodes, numbered from 0; each edge takes the first port that is free at both ends. Ids are as
    if each node had been made right before its first edge.

    Examples:
        >>> graph_of([(0, 1), (1, 2)]).edges
        (Edge(id=2, one=0, other=1, port=0), Edge(id=4, one=1, other=3, port=1))

    Raises:
        ValueError: a node has no free port.
    """
    graph = PortGraph()
    ids: dict[int, int] = {}
    for one, other in pairs:
        for node in (one, other):
            if node not in ids:
                graph = graph.with_node() if ids else graph
                ids[node] = graph.nodes[-1]
        before = graph
        for port in range(PORTS):
            graph = graph.joined(ids[one], ids[other], port)
            if graph is not before:
                break
        else:
            raise ValueError(f"no port is free for an edge between {one} and {other}")
    return graph


def _reached(graph: PortGraph) -> set[int]:
    neighbours = graph.neighbours()
    found, left = {graph.nodes[0]}, [graph.nodes[0]]
    while left:
        new = neighbours[left.pop()] - found
        found |= new
        left.extend(new)
    return found
