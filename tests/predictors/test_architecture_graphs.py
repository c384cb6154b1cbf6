"""Graphs: what is refused, what is dead, and orders of nodes that are valid."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from architectures import CELLS, EDGES, diamond, drawn_graph

from dnal import UserError
from dnal.predictors.features import Features, paths
from dnal.predictors.graph import Graph, pruned, random_orders, relabelled, stacked, through
from dnal.predictors.tables import CELL_EDGES


@pytest.mark.parametrize(
    ("operations", "adjacency", "word"),
    [
        ([0, 4, 1], np.eye(3), "before it"),
        ([0, 4, 1], np.tril(np.ones((3, 3)), -1), "before it"),
        ([4, 4, 1], np.eye(3, k=1), "first"),
        ([0, 1, 4], np.eye(3, k=1), "last"),
        ([0, 99, 1], np.eye(3, k=1), "numbers"),
        ([0, -1, 1], np.eye(3, k=1), "numbers"),
        ([0, 4, 1], np.eye(4, k=1), "belong together"),
        ([0], np.zeros((1, 1)), "nodes"),
        ([0, *[4] * 60, 1], np.eye(62, k=1), "nodes"),
    ],
)
def test_what_is_no_graph_is_refused(operations: list[int], adjacency: np.ndarray, word: str) -> None:
    with pytest.raises(UserError, match=word):
        Graph(operations, adjacency)


def test_what_passes_nothing_is_dead_and_so_is_what_hangs_on_it() -> None:
    assert through(diamond()).tolist() == [True, True, True, False, True, True]
    assert pruned(diamond()).operations.tolist() == [0, 4, 5, 3, 1]
    cut = Graph([0, 4, 2, 5, 1], np.eye(5, k=1))
    assert not through(cut).any()
    assert pruned(cut).operations.tolist() == [0, 1]


def test_paths_are_those_written_out() -> None:
    """Against every way through the graph, tried one by one."""
    assert dict(paths(diamond())) == {(4, 5): 1, (): 1}
    rng = np.random.default_rng(1)
    for nodes in (2, 4, 7):
        graph = drawn_graph(rng, nodes)
        found: dict[tuple[int, ...], int] = {}
        for number in range(nodes - 1):
            for inner in itertools.combinations(range(1, nodes - 1), number):
                way = (0, *inner, nodes - 1)
                if all(graph.adjacency[a, b] for a, b in itertools.pairwise(way)):
                    on_it = graph.operations[list(inner)].tolist()
                    if 2 not in on_it:
                        key = tuple(one for one in on_it if one != 3)
                        found[key] = found.get(key, 0) + 1
        assert dict(paths(graph)) == found


def test_a_cell_is_the_graph_of_its_edges() -> None:
    """An edge reads another where that one ends where it starts."""
    graph = CELLS[0]
    assert graph.operations.tolist() == [0, *(EDGES[0] + 2), 1]
    for (i, (a, b)), (j, (c, d)) in itertools.product(enumerate(CELL_EDGES, 1), repeat=2):
        assert graph.adjacency[i, j] == (b == c), (a, b, c, d)
    assert graph.adjacency[0].nonzero()[0].tolist() == [1, 2, 4]
    assert graph.adjacency[:, -1].nonzero()[0].tolist() == [4, 5, 6]


def test_drawn_orders_are_valid_and_reach_every_valid_one() -> None:
    rng = np.random.default_rng(0)
    several = [drawn_graph(rng, nodes) for nodes in (3, 5, 8, 8, 6)]
    graphs = stacked(several)
    for _ in range(20):
        order = random_orders(graphs, rng)
        other = relabelled(graphs, order)
        for graph, own, operations, adjacency in zip(several, order, other.operations, other.adjacency, strict=True):
            size = len(graph)
            assert sorted(own) == list(range(graphs.operations.shape[1]))
            again = Graph(operations[:size], adjacency[:size, :size])  # refuses an edge backwards
            assert paths(again) == paths(graph)
    cell = stacked(CELLS[:1])
    valid = {
        order
        for order in itertools.permutations(range(1, 7))
        if all(not cell.adjacency[0, b, a] for a, b in itertools.combinations(order, 2))
    }
    many = stacked(CELLS[:1] * 3000)
    found = {tuple(own[1:-1].tolist()) for own in random_orders(many, rng)}
    assert found == valid
    assert len(valid) > 2


def test_counts_and_paths_do_not_see_the_order_of_nodes_and_the_flat_code_does() -> None:
    graphs = stacked(CELLS[:20])
    other = relabelled(graphs, random_orders(graphs, np.random.default_rng(3)))
    again = [Graph(*both) for both in zip(other.operations, other.adjacency, strict=True)]
    for encoding in ("counts", "paths"):
        features = Features.of(CELLS, encoding)
        assert (features(CELLS[:20]) == features(again)).all()
    features = Features.of(CELLS, "flat")
    assert (features(CELLS[:20]) != features(again)).any(1).sum() > 10
