"""An architecture as a graph: which operation each node computes, and which nodes it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dnal.base.errors import UserError

INPUT, OUTPUT, NOTHING, SAME = 0, 1, 2, 3
"""Operations that every table shares: the input, the output, one that passes nothing on, one that passes on what it
reads. The others have numbers from 4 on, which are the table's own."""
MOST_NODES = 48
MOST_OPERATIONS = 48


@dataclass(frozen=True, eq=False)
class Graph:
    """An architecture of named operations, in an order in which every node comes after those that it reads.

    Attributes:
        operations: (n,) a number per node; the first is ``INPUT`` and the last ``OUTPUT``.
        adjacency: (n, n) bool, [i, j] where node j reads node i; so only above the diagonal.

    Raises:
        UserError: sizes that do not fit, another first or last node, or an edge backwards.

    Examples:
        >>> chain = Graph([INPUT, 4, 5, OUTPUT], np.eye(4, k=1))
        >>> chain.operations.tolist(), int(chain.adjacency.sum())
        ([0, 4, 5, 1], 3)
    """

    operations: NDArray[np.int64]
    adjacency: NDArray[np.bool_]

    def __init__(self, operations: ArrayLike, adjacency: ArrayLike) -> None:
        found = np.asarray(operations).astype(np.int64)
        edges = np.asarray(adjacency).astype(bool)
        check_graphs(found[None] if found.ndim == 1 else found, edges[None])
        object.__setattr__(self, "operations", found)
        object.__setattr__(self, "adjacency", edges)

    def __len__(self) -> int:
        return len(self.operations)


class Stacked(NamedTuple):
    """Graphs as arrays, those with fewer nodes padded at the end.

    Attributes:
        operations: (N, n), -1 at padding. adjacency: (N, n, n) bool. lengths: (N,) nodes.
    """

    operations: NDArray[np.int64]
    adjacency: NDArray[np.bool_]
    lengths: NDArray[np.int64]


def check_graphs(operations: NDArray[Any], adjacency: NDArray[Any]) -> None:
    """Refuses arrays (N, n) and (N, n, n) that are no graphs.

    Raises:
        UserError: saying what does not fit.
    """
    shape = operations.shape
    if len(shape) != 2 or adjacency.shape != (*shape, shape[-1]):
        raise UserError(f"operations (n,) and adjacency (n, n) belong together, not {shape} and {adjacency.shape}.")
    if not 2 <= shape[1] <= MOST_NODES:
        raise UserError(f"a graph has 2 to {MOST_NODES} nodes, not {shape[1]}; leave out what all architectures share.")
    if operations.size and not 0 <= operations.min() <= operations.max() < MOST_OPERATIONS:
        raise UserError(f"operations are numbers from 0 to {MOST_OPERATIONS - 1}.")
    if (operations[:, 0] != INPUT).any() or (operations[:, -1] != OUTPUT).any():
        raise UserError(f"the first node of a graph is the input ({INPUT}) and the last the output ({OUTPUT}).")
    if (adjacency & np.tril(np.ones(adjacency.shape[1:], bool))).any():
        raise UserError("a node reads only nodes before it; put the nodes in such an order.")


def stacked(graphs: Sequence[Graph], nodes: int = 0) -> Stacked:
    """Graphs as arrays.

    Args:
        nodes: to which they are padded at least.

    Raises:
        UserError: something in the list is no graph.
    """
    check_all(graphs)
    lengths = np.array([len(graph) for graph in graphs], dtype=np.int64)
    most = max(nodes, int(lengths.max(initial=0)))
    operations = np.full((len(graphs), most), -1, dtype=np.int64)
    adjacency = np.zeros((len(graphs), most, most), dtype=bool)
    for length in np.unique(lengths):
        own = np.flatnonzero(lengths == length).tolist()
        operations[own, :length] = np.stack([graphs[place].operations for place in own])
        adjacency[own, :length, :length] = np.stack([graphs[place].adjacency for place in own])
    return Stacked(operations, adjacency, lengths)


def check_all(architectures: Sequence[Any]) -> None:
    """Refuses what is no list of graphs.

    Raises:
        UserError: naming what is there instead.
    """
    other = next((each for each in architectures if not isinstance(each, Graph)), None)
    if other is not None:
        raise UserError(
            f"this predictor reads graphs (dnal.predictors.Graph), not {type(other).__name__}; rows of numbers, such "
            "as widths, are for boosting, ridge, gaussian-process, mlp and assessor, and networks for statistics, "
            "neural-graph and sne."
        )


def through(graph: Graph) -> NDArray[np.bool_]:
    """Which nodes (n,) lie on a path from the input to the output on which every operation passes something on.

    Examples:
        >>> adjacency = np.zeros((4, 4), bool)
        >>> adjacency[0, 1] = adjacency[0, 2] = adjacency[1, 3] = adjacency[2, 3] = True
        >>> through(Graph([INPUT, NOTHING, 4, OUTPUT], adjacency)).tolist()
        [True, False, True, True]
    """
    passing = graph.operations != NOTHING
    edges = graph.adjacency & passing[:, None] & passing
    size = len(graph)
    ahead, behind = np.zeros(size, bool), np.zeros(size, bool)
    ahead[0] = behind[-1] = True
    for node in range(1, size):
        ahead[node] = edges[:, node] @ ahead
    for node in range(size - 2, -1, -1):
        behind[node] = edges[node] @ behind
    found: NDArray[np.bool_] = ahead & behind
    return found


def pruned(graph: Graph) -> Graph:
    """The graph without the nodes from which nothing comes from the input to the output; both always stay.

    Examples:
        >>> len(pruned(Graph([INPUT, NOTHING, 4, OUTPUT], np.triu(np.ones((4, 4)), 1))))
        3
    """
    stays = through(graph)
    stays[0] = stays[-1] = True
    if stays.all():
        return graph
    kept = np.flatnonzero(stays)
    return Graph(graph.operations[kept], graph.adjacency[np.ix_(kept, kept)])


def random_orders(graphs: Stacked, rng: np.random.Generator) -> NDArray[np.int64]:
    """For each graph a random order of its nodes in which every node still comes after those that it reads.

    At each place one of the nodes that may come next is drawn. Input, output and padding stay where they are.

    Returns:
        (N, n): which node comes at each place.
    """
    operations, adjacency, lengths = graphs
    number, size = operations.shape
    rows, places = np.arange(number), np.arange(size)
    order = np.tile(places, (number, 1))
    placed = np.zeros((number, size), bool)
    placed[:, 0] = True
    inner = (places > 0) & (places < (lengths - 1)[:, None])
    for place in range(1, size - 1):
        waiting = (adjacency & ~placed[:, :, None]).any(1)
        free = inner & ~placed & ~waiting
        drawn = np.where(free, rng.random((number, size)), -1.0).argmax(1)
        here = place < lengths - 1
        order[here, place] = drawn[here]
        placed[rows[here], drawn[here]] = True
    return order


def relabelled(graphs: Stacked, order: NDArray[np.int64]) -> Stacked:
    """The same graphs with their nodes in another order: operations and both sides of the adjacency.

    Args:
        order: (N, n), which node comes at each place.
    """
    rows = np.arange(len(order))[:, None]
    adjacency = graphs.adjacency[rows[..., None], order[:, :, None], order[:, None, :]]
    return Stacked(graphs.operations[rows, order], adjacency, graphs.lengths)
