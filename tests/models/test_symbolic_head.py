"""The head whose structure is a graph, and the population of programs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.models.symbolic.encoder import PatchEncoder
from dnal.models.symbolic.graph import Edge, PortGraph, graph_of
from dnal.models.symbolic.head import GraphHead
from dnal.models.symbolic.isomorphism import isomorphic
from dnal.models.symbolic.library import expanded
from dnal.models.symbolic.population import evolve
from independent import assert_exact, coin_flips, randomise

PATH = graph_of([(0, 1), (1, 2)])
DOUBLE = PortGraph((0, 1), (Edge(2, 1, 0, 0), Edge(3, 1, 0, 4)))


def head(graph: PortGraph, **options: int) -> GraphHead:
    torch.manual_seed(0)
    return GraphHead(graph, **{"features": 16, "classes": 3, "layers": 2, **options})


def by_hand(network: GraphHead, x: Tensor) -> Tensor:
    """One example, element by element and edge by edge."""
    graph, size = network.graph, len(x)
    count = len(graph.nodes) + len(graph.edges)
    bounds = [0, *(size - (size // count) * left for left in range(count - 1, -1, -1))]

    def element(number: int, port: int) -> Tensor:
        own = x[bounds[number] : bounds[number + 1]]
        return own.repeat(size)[:size] + encoded(number, port, size)

    nodes = {node: element(node, 0) for node in graph.nodes}
    edges = {edge: element(edge.id, edge.port + 1) for edge in graph.edges}
    for layer in network.layers:
        new = {}
        for node, own in nodes.items():
            total = own.clone()
            for edge, told in edges.items():
                if node in (edge.one, edge.other):
                    total += torch.relu(nodes[edge.other if edge.one == node else edge.one] + told)
            new[node] = layer(total)
        nodes = new
    return network.out(torch.stack(list(nodes.values())).mean(0))


def encoded(number: int, port: int, size: int) -> Tensor:
    speeds = [10_000 ** -(nth / (size // 4 - 1)) for nth in range(size // 4)]
    angles = torch.tensor([[value * speed for speed in speeds] for value in (number, port)])
    return torch.cat([angles[0].sin(), angles[0].cos(), angles[1].sin(), angles[1].cos()])


@pytest.mark.parametrize("graph", [PATH, DOUBLE, graph_of([(0, 1), (1, 2), (2, 0), (2, 3)])])
def test_the_head_is_that_of_the_paper(graph: PortGraph) -> None:
    network = head(graph).eval()
    x = torch.randn(4, 16)
    with torch.no_grad():
        assert torch.allclose(network(x), torch.stack([by_hand(network, one) for one in x]), atol=1e-5)


def test_every_feature_goes_to_one_element_and_the_first_takes_what_is_left_over() -> None:
    network = head(PATH)  # elements 0, 1, 3 are nodes, 2 and 4 edges
    own = {number: set(network.places[row].tolist()) for row, number in enumerate([0, 1, 3, 2, 4])}
    assert [len(own[number]) for number in range(5)] == [4, 3, 3, 3, 3]
    assert [feature for number in range(5) for feature in sorted(own[number])] == list(range(16))
    assert network.places[0].tolist() == [0, 1, 2, 3] * 4


def test_an_edge_that_is_there_twice_sends_twice_and_ports_matter() -> None:
    x = torch.randn(2, 16)
    one, two, other = DOUBLE, PortGraph((0, 1), (Edge(2, 1, 0, 0),)), PortGraph((0, 1), (Edge(2, 1, 0, 3),))
    with torch.no_grad():
        outs = [head(graph).eval()(x) for graph in (one, two, other)]
    assert not any(torch.allclose(a, b) for a, b in combinations(outs, 2))


def test_everything_is_trained_and_dropout_acts_in_training_alone() -> None:
    network, x = head(PATH), torch.randn(3, 16, requires_grad=True)
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    network(x).square().sum().backward()
    assert all(bool(value.grad.any()) for value in [x, *network.parameters()])
    assert not network.state_dict().keys() & {"places", "encoding", "source", "target"}  # they follow from the graph


@pytest.mark.parametrize(
    ("graph", "features"), [(PortGraph(), 16), (PortGraph((0, 1)), 16), (PATH, 18), (graph_of([(0, 1), (1, 2)]), 4)]
)
def test_what_does_not_fit_is_a_sentence(graph: PortGraph, features: int) -> None:
    with pytest.raises(UserError, match="of a head"):
        GraphHead(graph, features=features, classes=2)


def test_widths_of_the_whole_network_leave_exactly() -> None:
    """Those of the encoder; what lies between slices and layers is one width, which the slices fix."""
    torch.manual_seed(0)
    network = nn.Sequential(PatchEncoder(side=8, features=16, width=8), head(PATH))
    randomise(network).eval()
    images = torch.randn(2, 1, 8, 8)
    space = dnal.Space.of(network, images)
    assert space.unknown == {}
    hidden = 2 * 8 + 16 + 16  # of two residuals and of attention's network; what the last layer says of nodes
    assert space.num_variables > hidden
    assert dnal.Space.of(network, images, norms="open").num_variables >= space.num_variables + 8  # the stream too
    small = assert_exact(network, images, space, coin_flips(space, 1))
    assert small[1].out.out_features == 3


def test_images_of_any_multiple_of_eight_become_features() -> None:
    for side in (8, 64):
        assert PatchEncoder(side=side, features=12, width=8)(torch.randn(3, 1, side, side)).shape == (3, 12)


@dataclass
class Told:
    """Of training: only this is read."""

    train: float
    seed: int


def larger(graph: PortGraph, seed: int) -> Told:
    return Told(len(graph.nodes) + 1 / (2 + len(graph.edges)), seed)


def test_a_population_is_those_who_train_best_and_new_ones() -> None:
    options = {"seed": 3, "population": 4, "keep": 2, "rounds": 3, "tries": 13_000, "elements": 14, "contrast": 2.0}
    rounds = evolve(larger, **options)
    assert len(rounds) == 3
    assert len(rounds[-1].population) > len(rounds[0].population) > 0
    everyone = {id(one.trained): one for own in rounds for one in own.population}
    seeds = [one.trained.seed for one in everyone.values()]
    assert len(set(seeds)) == len(seeds)  # each network is trained once, with a seed of its own
    for turn, own in enumerate(rounds):
        values = [one.trained.train for one in own.population]
        assert values == sorted(values, reverse=True)
        assert len(values) <= 4
        assert not any(isomorphic(a.found.graph, b.found.graph) for a, b in combinations(own.population, 2))
        assert {one.round for one in own.population} <= set(range(turn + 1))
        if turn:
            stayed = [id(one.trained) for one in rounds[turn - 1].population][:2]
            assert stayed == [id(one.trained) for one in own.population if one.round < turn]
        for one in own.population:
            assert expanded(one.found.program, own.grammar.library).mass == one.found.mass
    assert rounds == evolve(larger, **options)
    others = evolve(larger, **{**options, "seed": 4, "rounds": 1, "tries": 500})
    assert not {one.trained.seed for own in others for one in own.population} & set(seeds)


def test_where_nothing_is_found_the_population_is_empty() -> None:
    assert [own.population for own in evolve(larger, seed=0, rounds=2, tries=20)] == [(), ()]
