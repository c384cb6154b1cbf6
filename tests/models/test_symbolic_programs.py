"""Programs that build graphs: worked by hand, and which graphs are the same."""

from __future__ import annotations

import random
from itertools import combinations, islice, permutations

import pytest

from dnal.base.errors import UserError
from dnal.models.symbolic.grammar import Grammar
from dnal.models.symbolic.graph import Edge, PortGraph, graph_of
from dnal.models.symbolic.interpreter import State, built, ended
from dnal.models.symbolic.isomorphism import OneOfEach, isomorphic, key_of
from dnal.models.symbolic.program import ARITIES, DEEPEST, Program
from dnal.models.symbolic.random_graph import random_graph

PAIR = "push add connect "
"""A second node, joined to the first; the position is the second, the first is on the stack."""

WORKED = [
    ("identity", (0,), []),
    ("push add connect identity", (0, 1), [(2, 1, 0, 0)]),
    ("add connect identity", (0,), []),  # nothing on the stack
    ("push connect identity", (0,), []),  # no edge from a node to itself
    ("push add identity", (0, 1), []),  # a node without an edge
    ("push add add connect identity", (0, 1), [(2, 1, 0, 0)]),  # no second node while one is without an edge
    (PAIR + "connect identity", (0, 1), [(2, 1, 0, 0)]),  # the port is taken
    (PAIR + "next_port connect identity", (0, 1), [(2, 1, 0, 0), (3, 1, 0, 1)]),
    ("push add next_port connect prev_port connect identity", (0, 1), [(2, 1, 0, 1), (3, 1, 0, 0)]),
    ("push add prev_port connect identity", (0, 1), [(2, 1, 0, 9)]),  # ports go round
    ("push add " + "next_port " * 10 + "connect identity", (0, 1), [(2, 1, 0, 0)]),
    # The stack still holds the first node alone: a star. Its port 0 is taken, so the second edge needs another one.
    (PAIR + "add connect next_port connect identity", (0, 1, 3), [(2, 1, 0, 0), (4, 3, 0, 1)]),
    # The second node is pushed before the third is made: a path, at port 1.
    (PAIR + "push add next_port connect identity", (0, 1, 3), [(2, 1, 0, 0), (4, 3, 1, 1)]),
    # And back to the first node: a triangle, whose last edge takes port 2 (at port 1 the third node has one).
    (
        PAIR + "push add next_port connect pop next_port connect identity",
        (0, 1, 3),
        [(2, 1, 0, 0), (4, 3, 1, 1), (5, 3, 0, 2)],
    ),
    # Across the edge at port 0 to the first node, which is pushed there; then the third node is joined to it.
    (PAIR + "move push add next_port connect identity", (0, 1, 3), [(2, 1, 0, 0), (4, 3, 0, 1)]),
    (PAIR + "next_port move push add connect identity", (0, 1, 3), [(2, 1, 0, 0), (4, 3, 1, 1)]),  # none to cross
    # The only other node on the stack is not dropped while the new one needs it, and so an edge is made.
    ("push add pop connect identity", (0, 1), [(2, 1, 0, 0)]),
    ("push add push pop pop connect identity", (0, 1), [(2, 1, 0, 0)]),
    ("push pop add connect identity", (0,), []),
    # Of a subprogram the graph stays and position, port and stack do not: the next node is joined to nothing.
    ("func push add connect identity add connect identity", (0, 1), [(2, 1, 0, 0)]),
    ("func push add connect identity next_port push add connect identity", (0, 1, 3), [(2, 1, 0, 0), (4, 3, 0, 1)]),
    ("func push add identity push add connect identity", (0, 1), [(2, 1, 0, 0)]),  # in two pieces: not kept
    # Both end at the first node: the then-branch, and what follows it. Nothing of the two is kept.
    ("if_positions_equal identity push identity push add connect identity identity identity", (0, 1), [(2, 1, 0, 0)]),
    ("if_positions_equal identity push add identity push add connect identity identity identity", (0,), []),
    (
        "if_positions_equal identity push add identity identity push add connect identity next_port connect identity",
        (0, 1),
        [(2, 1, 0, 0), (3, 1, 0, 1)],
    ),
]


@pytest.mark.parametrize(("text", "nodes", "edges"), WORKED)
def test_a_program_builds_the_graph_worked_out_by_hand(
    text: str, nodes: tuple[int, ...], edges: list[tuple[int, ...]]
) -> None:
    assert built(Program.of(text)) == PortGraph(nodes, tuple(Edge(*edge) for edge in edges))


def test_every_operation_is_worked_out() -> None:
    assert set(ARITIES) == {word for text, _, _ in WORKED for word in text.split()}
    assert len(ARITIES) == 10


def test_a_state_is_worked_out_by_hand() -> None:
    state = ended(Program.of("push add connect push next_port move identity"), State(), 3)
    assert state == State(PortGraph((0, 1), (Edge(2, 1, 0, 0),)), 1, 1, (1, 0))
    assert ended(Program.of("prev_port move identity"), state, 3)[1:] == (0, 0, (1, 0))


def test_two_ports_take_two_edges() -> None:
    graph = built(Program.of("push add connect next_port connect next_port connect identity"), ports=2)
    assert [edge.port for edge in graph.edges] == [0, 1]


def test_text_is_read_back() -> None:
    for _, program in islice(Grammar.uniform().programs(), 3000):
        assert Program.of(str(program)) == program
        assert program.mass == len(str(program).split())
        assert program.uses == set(str(program).split())
    long = "move " * (DEEPEST - 1) + "identity"
    assert str(Program.of(long)) == long
    assert built(Program.of(long)) == PortGraph()
    assert Program.of(long).mass == DEEPEST


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("push add", "ends where an operation is missing"),
        ("", "ends where an operation is missing"),
        ("identity identity", "ends before 'identity'"),
        ("push ad connect identity", "unknown operation 'ad'"),
        ("move " * DEEPEST + "identity", "within each other"),
        ("move " * 100_000 + "identity", "within each other"),
    ],
)
def test_what_is_no_program_is_a_sentence(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Program.of(text)


def test_what_programs_build_keeps_the_rules_of_graphs() -> None:
    """Over the first programs that build anything: ids are consecutive, ports are taken once at each end, no edge joins
    a node to itself, and at most one node is without an edge."""
    graphs = {built(program, 3) for _, program in islice(Grammar.uniform().programs(), 6000) if "add" in program.uses}
    assert len(graphs) > 5
    for graph in graphs:
        assert sorted([*graph.nodes, *(edge.id for edge in graph.edges)]) == list(range(graph.elements))
        ends = [(node, edge.port) for edge in graph.edges for node in (edge.one, edge.other)]
        assert len(ends) == len(set(ends))
        assert all(edge.one != edge.other and 0 <= edge.port < 3 for edge in graph.edges)
        assert graph.apart == (not graph.valid and len(graph.nodes) > 1)


def connected(limit: int) -> list[PortGraph]:
    """All graphs in one piece of 2 to ``limit`` nodes, of networkx's atlas."""
    networkx = pytest.importorskip("networkx", reason="torch brings networkx")
    atlas = [graph for graph in networkx.graph_atlas_g() if 1 < len(graph) <= limit and networkx.is_connected(graph)]
    return [graph_of(sorted(graph.edges)) for graph in atlas]


def test_no_two_of_the_atlas_are_the_same() -> None:
    graphs = connected(6)
    assert len(graphs) == 1 + 2 + 6 + 21 + 112
    assert all(graph.valid for graph in graphs)
    assert not any(isomorphic(one, other) for one, other in combinations(graphs, 2))
    known: OneOfEach[int] = OneOfEach()
    for place, graph in enumerate(graphs):
        known.set(graph, place)
    assert sorted(known.values()) == list(range(len(graphs)))


def test_a_graph_with_other_names_and_double_edges_is_the_same() -> None:
    draw = random.Random(0)
    for graph in connected(5):
        row = {node: nth for nth, node in enumerate(graph.nodes)}
        pairs = [(row[edge.one], row[edge.other]) for edge in graph.edges]
        names = draw.sample(range(len(row)), len(row))
        other = [(names[a], names[b]) for a, b in pairs] + [tuple(names[end] for end in pairs[0])]
        assert isomorphic(graph, graph_of(other))
        assert key_of(graph) == key_of(graph_of(other))


def test_graphs_that_look_alike_from_every_node_are_told_apart() -> None:
    """Six nodes with three neighbours each: colours cannot tell the prism from the complete bipartite graph."""
    prism = graph_of([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)])
    bipartite = graph_of([(a, b) for a in (0, 1, 2) for b in (3, 4, 5)])
    assert key_of(prism) == key_of(bipartite)
    assert not isomorphic(prism, bipartite)
    for names in islice(permutations(range(6)), 0, 720, 97):
        assert isomorphic(bipartite, graph_of([(names[a], names[b]) for a in (0, 1, 2) for b in (3, 4, 5)]))


def test_a_random_graph_has_the_size_and_is_valid() -> None:
    draw = random.Random(0)
    for nodes, edges in [(2, 1), (2, 4), (3, 3), (5, 4), (6, 15), (4, 9), (12, 14)]:
        graph = random_graph(nodes, edges, draw)
        assert (len(graph.nodes), len(graph.edges), graph.valid) == (nodes, edges, True)
        pairs = {tuple(sorted(edge[1:3])) for edge in graph.edges}
        assert len(pairs) == min(edges, nodes * (nodes - 1) // 2)  # double ones only where no others are left
    assert random_graph(6, 8, random.Random(3)) == random_graph(6, 8, random.Random(3))
    shapes: OneOfEach[int] = OneOfEach()
    for _ in range(60):
        shapes.set(random_graph(4, 3, draw), 0)
    assert len(shapes.values()) == 2  # the path and the star
    for nodes, edges in [(1, 1), (4, 2), (2, 11)]:
        with pytest.raises(ValueError, match="no valid graph"):
            random_graph(nodes, edges, draw)
