"""Tokens by hand, and a network that padding and orders of nodes change only where they should."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from architectures import CELLS, diamond, drawn_graph

from dnal.predictors.graph import random_orders, relabelled, stacked
from dnal.predictors.nar_former.former import NarFormer
from dnal.predictors.nar_former.network import NarFormerNetwork
from dnal.predictors.tokens import PART, WIDTH, gamma, tokens


@pytest.mark.parametrize("frequencies", [32, 96])
def test_gamma_is_the_formula_in_exact_numbers(frequencies: int) -> None:
    for x in (-1, 0, 1, 7, 47, 100_000):
        found = gamma(x, frequencies)
        for k in range(frequencies):
            frequency = 1 + Fraction(k * (2**31 - 1), frequencies - 1)
            turns = float(frequency * x % 2)
            assert found[k] == pytest.approx(np.sin(np.pi * turns), abs=1e-6)
            assert found[frequencies + k] == pytest.approx(np.cos(np.pi * turns), abs=1e-6)


def test_no_two_codes_that_occur_are_the_same() -> None:
    numbers = [-1, *range(48), 100_000]
    codes = gamma(np.array(numbers))
    assert len(np.unique(codes.round(3), axis=0)) == len(numbers)


def test_the_tokens_of_a_small_graph_are_those_written_out() -> None:
    found = tokens(stacked([diamond()]))[0]
    assert found.shape == (7, WIDTH)
    reads = {1: [0], 2: [1], 3: [0], 4: [0], 5: [2, 3, 4]}
    for node, operation in enumerate([0, 4, 5, 2, 3, 1]):
        source = gamma(-1) if node == 0 else sum(gamma(one) for one in reads[node])
        expected = np.concatenate([gamma(operation), gamma(node), source])
        assert found[node] == pytest.approx(expected, abs=1e-5)
    assert (found[6] == np.tile(gamma(100_000), 3)).all()
    without = tokens(stacked([diamond()]), sources=False)[0]
    assert (without[:, : 2 * PART] == found[:, : 2 * PART]).all()
    assert not without[:, 2 * PART :].any()


def test_another_order_moves_operations_and_sources_and_not_the_places() -> None:
    graphs = stacked(CELLS[:10])
    order = random_orders(graphs, np.random.default_rng(0))
    before, after = tokens(graphs), tokens(relabelled(graphs, order))
    assert (before[:, :, PART : 2 * PART] == after[:, :, PART : 2 * PART]).all()
    rows = np.arange(10)[:, None]
    assert (before[rows, order, :PART] == after[:, :-1, :PART]).all()
    assert (before[:, -1] == after[:, -1]).all()


def test_padding_and_neighbours_in_a_batch_change_no_answer() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    several = [drawn_graph(rng, nodes) for nodes in (2, 3, 5, 9, 9, 7)]
    model = NarFormer(width=24, heads=2, depth=2, hidden=16, prune=False)
    arrays = {name: one.double().numpy() for name, one in model._network().state_dict().items()}
    together = model._answer(arrays, stacked(several))
    alone = np.concatenate([model._answer(arrays, stacked([graph])) for graph in several])
    wider = model._answer(arrays, stacked(several, nodes=20))
    assert np.ptp(together) > 1e-4
    assert together == pytest.approx(alone, abs=1e-6)
    assert together == pytest.approx(wider, abs=1e-6)


def test_the_fusion_stages_are_those_of_the_formula() -> None:
    """Learnt tokens read the sequence without residual and without a layer of their own, written out for one head."""
    torch.manual_seed(0)
    fusion = NarFormerNetwork(192, 1, 0, 8, 0.0).fusions[0]
    memory = torch.randn(2, 5, 192)
    with torch.no_grad():
        normed = torch.nn.functional.layer_norm(memory, (192,))
        key, value = (normed @ fusion.attention.key_value.weight.T + fusion.attention.key_value.bias).chunk(2, -1)
        weights = torch.softmax(fusion.queries @ key.transpose(1, 2) / 192**0.5, -1)
        read = (weights @ value) @ fusion.attention.out.weight.T + fusion.attention.out.bias
        assert torch.allclose(fusion(memory, None), fusion.feed(read), atol=1e-5)
        assert fusion.queries.shape == (4, 192)


def test_the_network_of_the_published_size_has_as_many_parameters_as_counted() -> None:
    """Six blocks and three fusion stages of width 192 with feed-forward parts of 768, counted by hand."""
    d, f = 192, 768
    linear = lambda i, o: i * o + o  # noqa: E731
    feed = 2 * d + linear(d, f) + linear(f, d)
    block = 2 * d + linear(d, d) + linear(d, 2 * d) + linear(d, d) + feed
    fusion = 2 * d + linear(d, 2 * d) + linear(d, d) + feed
    reading = 2 * d + block
    expected = linear(d, d) + 6 * block + 3 * fusion + 7 * d + 2 * reading + 2 * d + linear(d, 1)
    assert sum(one.numel() for one in NarFormerNetwork(d, 6, 6, f, 0.1).parameters()) == expected


def test_consistency_makes_orders_of_one_architecture_agree() -> None:
    values = np.arange(16.0)
    size = {"width": 24, "heads": 2, "depth": 1, "hidden": 16, "epochs": 60, "batch": 16, "lr": 3e-3, "prune": False}
    apart = []
    for augment in (True, False):
        model = NarFormer(augment=augment, **size).fit(CELLS[:16], values)  # type: ignore[arg-type]
        graphs = stacked(CELLS[:16])
        other = relabelled(graphs, random_orders(graphs, np.random.default_rng(5)))
        both = [model._answer(model.members_[0], one) for one in (graphs, other)]
        apart.append(np.abs(both[0] - both[1]).mean() / both[0].std())
    assert apart[0] < 0.7 * apart[1]
