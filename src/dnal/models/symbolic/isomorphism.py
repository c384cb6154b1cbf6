"""Whether two graphs are the same one, whatever their ports and however many edges join two nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from dnal.models.symbolic.graph import PortGraph

T = TypeVar("T")
Key = tuple[int, tuple[int, ...]]
"""The number of nodes, and of each how many others it is joined to, in order."""
Neighbours = Mapping[int, frozenset[int]]


def key_of(graph: PortGraph) -> Key:
    """Graphs that are the same have the same key."""
    degrees = sorted(len(own) for own in graph.neighbours().values())
    return len(degrees), tuple(degrees)


def isomorphic(one: PortGraph, other: PortGraph) -> bool:
    """Whether the nodes of one can be named as those of the other so that the same are joined.

    Examples:
        >>> from dnal.models.symbolic.graph import graph_of
        >>> path, star = graph_of([(0, 1), (1, 2), (2, 3)]), graph_of([(0, 1), (0, 2), (0, 3)])
        >>> isomorphic(path, graph_of([(2, 0), (0, 1), (1, 3)])), isomorphic(path, star)
        (True, False)
    """
    if key_of(one) != key_of(other):
        return False
    ours, theirs = one.neighbours(), other.neighbours()
    colours, their_colours = _colours(ours), _colours(theirs)
    if sorted(colours.values()) != sorted(their_colours.values()):
        return False
    # Nodes with rare colours first, and then those next to nodes that are named already.
    return _named(ours, theirs, colours, their_colours, {})


class OneOfEach(Generic[T]):
    """A dictionary by graph in which graphs that are the same are one."""

    def __init__(self) -> None:
        self._known: dict[Key, list[tuple[PortGraph, T]]] = {}

    def get(self, graph: PortGraph) -> T | None:
        for known, value in self._known.get(key_of(graph), []):
            if isomorphic(known, graph):
                return value
        return None

    def set(self, graph: PortGraph, value: T) -> None:
        own = self._known.setdefault(key_of(graph), [])
        own[:] = [(known, old) for known, old in own if not isomorphic(known, graph)] + [(graph, value)]

    def values(self) -> list[T]:
        return [value for own in self._known.values() for _, value in own]


def _colours(neighbours: Neighbours) -> dict[int, int]:
    """Numbers that are equal for nodes that look alike from all around: colour refinement, the same for both graphs,
    since a colour is the hash of numbers."""
    colours = {node: len(own) for node, own in neighbours.items()}
    for _ in range(len(colours)):
        colours = {
            node: hash((colours[node], tuple(sorted(colours[other] for other in own))))
            for node, own in neighbours.items()
        }
    return colours


def _named(
    ours: Neighbours, theirs: Neighbours, colours: Mapping[int, int], their_colours: Mapping[int, int],
    names: dict[int, int],
) -> bool:  # fmt: skip
    """Whether the names that some nodes have can be had by all."""
    if len(names) == len(ours):
        return True
    left = ours.keys() - names.keys()
    alike = list(colours.values())
    node = min(left, key=lambda each: (-len(ours[each] & names.keys()), alike.count(colours[each]), each))
    taken = set(names.values())
    for name in sorted(theirs.keys() - taken):
        if colours[node] != their_colours[name]:
            continue
        if {names[other] for other in ours[node] & names.keys()} == theirs[name] & taken:
            names[node] = name
            if _named(ours, theirs, colours, their_colours, names):
                return True
            del names[node]
    return False
