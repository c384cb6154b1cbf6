"""Costs: by hand, at 0/1, and their derivatives."""

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.space.cost import Cost
from independent import counted_macs
from networks import EXAMPLES, SIDE, between, conv, image


def random_gates(space: dnal.Space, seed: int = 0) -> Tensor:
    return torch.rand(space.num_variables, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def total(space: dnal.Space, gates: Tensor, parameter: str, dim: int) -> Tensor:
    """The sum of the gates along one dimension of a parameter, a fixed channel counting 1."""
    ids = space.sources[parameter][dim]
    return sum((gates[v] if v >= 0 else torch.tensor(1.0)) for v in ids.tolist())


def test_two_layers_by_hand() -> None:
    space = dnal.Space.of(between(5, nn.BatchNorm2d(5), nn.ReLU()), image())
    gates = random_gates(space)
    width = total(space, gates, "0.weight", 0)
    assert float(space.costs["macs"](gates)) == pytest.approx(float(9 * SIDE**2 * (3 * width + 4 * width)))
    weights, biases, norm = 27 * width + 36 * width, width + 4, 2 * width
    assert float(space.costs["params"](gates)) == pytest.approx(float(weights + biases + norm))


def test_linear_layers_count_their_rows() -> None:
    network = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 4))
    space = dnal.Space.of(network, torch.randn(2, 9, 5))
    gates = random_gates(space)
    width = gates.sum()
    assert float(space.costs["macs"](gates)) == pytest.approx(float(9 * (5 * width + 4 * width)))


def test_depthwise_by_hand() -> None:
    space = dnal.Space.of(between(6, nn.ReLU(), conv(6, 6, groups=6), nn.ReLU()), image())
    gates = random_gates(space)
    width = gates.sum()  # its own input dimension has one entry: no second factor
    assert float(space.costs["macs"](gates)) == pytest.approx(float(9 * SIDE**2 * (3 * width + width + 4 * width)))


def test_wide_groups_by_hand() -> None:
    space = dnal.Space.of(between(16, conv(16, 8, groups=2), nn.ReLU(), out=8), image())
    gates = random_gates(space)
    inputs, outputs = (total(space, gates, "1.weight", dim) for dim in (1, 0))  # the inputs of ONE group
    expected = 9 * SIDE**2 * (3 * 2 * inputs + outputs * inputs + 4 * outputs)
    assert float(space.costs["macs"](gates)) == pytest.approx(float(expected))


def test_transposed_convolutions_count_input_positions() -> None:
    space = dnal.Space.of(between(8, nn.ConvTranspose2d(8, 6, 2, 2), out=6), image())
    gates = random_gates(space)
    inputs, outputs = (total(space, gates, "1.weight", dim) for dim in (0, 1))
    expected = 27 * inputs * SIDE**2 + 4 * inputs * outputs * SIDE**2 + 9 * outputs * 4 * (2 * SIDE) ** 2
    assert float(space.costs["macs"](gates)) == pytest.approx(float(expected))


@pytest.mark.parametrize("name", ["residual sums tie", "depthwise", "wide groups lose positions", "squeeze-excite"])
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_derivatives_are_those_of_finite_differences(name: str, cost: str) -> None:
    build, _, inputs = EXAMPLES[name]
    space = dnal.Space.of(build(), inputs())
    gates = random_gates(space).requires_grad_()
    scale = space.full_cost[cost]
    assert torch.autograd.gradcheck(lambda g: space.costs[cost](g) / scale, (gates,))


def test_soft_costs_lie_between_and_grow_with_every_gate() -> None:
    build, _, inputs = EXAMPLES["residual sums tie"]
    space = dnal.Space.of(build(), inputs())
    gates = random_gates(space).requires_grad_()
    space.costs["macs"](gates).backward()
    assert (gates.grad > 0).all()
    assert 0 < float(space.costs["macs"](gates.detach())) < space.full_cost["macs"]


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("name", ["conv-bn chain", "flatten into linear", "mixing positions, channels as rows"])
def test_costs_do_not_depend_on_the_traced_batch(name: str, batch: int) -> None:
    network = EXAMPLES[name][0]()
    space = dnal.Space.of(network, image(batch=batch))
    architecture = dnal.Architecture.random(space, 0.5)
    small = dnal.compact(network, architecture)
    assert float(space.costs["macs"](architecture.open)) == counted_macs(small, image(batch=1), batch=1)


def test_large_counts_are_exact() -> None:
    """Beyond 2**24, where single precision would round, whatever the type of the gates."""
    cost = Cost([(3.0, [torch.arange(4), 10**8 + 1])])
    for gates in (torch.ones(4), torch.ones(4, dtype=torch.bool), torch.ones(4, dtype=torch.float16)):
        assert float(cost(gates)) == 12 * (10**8 + 1)


def test_no_terms_cost_nothing() -> None:
    assert float(Cost([])(torch.ones(3))) == 0


def test_shares_of_macs() -> None:
    space = dnal.Space.of(between(5, nn.ReLU(), conv(5, 6), nn.ReLU(), out=6), image())
    first, second, last = 3 * 5, 5 * 6, 6 * 4
    shares = {group.width: space.share_of_macs(group) for group in space.groups}
    assert shares[5] == pytest.approx((first + second) / (first + second + last))
    assert shares[6] == pytest.approx((second + last) / (first + second + last))
    assert space.removable_share == 1
    assert dnal.Space.of(nn.Linear(5, 4), torch.randn(2, 5)).removable_share == 0


def test_sums_of_products_written_out() -> None:
    a, b = torch.tensor([0, 1, -1]), torch.tensor([2, 3])
    cost = Cost([(2.0, [a, b]), (1.0, [a, 5]), (3.0, []), (1.0, [a, a])])
    g = torch.tensor([0.5, 1.0, 0.25, 1.0], dtype=torch.float64)
    one, other = 0.5 + 1.0 + 1, 0.25 + 1.0
    assert cost.terms(g).tolist() == pytest.approx([2 * one * other, 5 * one, 3, one * one])
    assert torch.autograd.gradcheck(cost, (g.clone().requires_grad_(),))


def test_without_terms_nothing_has_a_cost() -> None:
    assert float(Cost([])(torch.ones(3, dtype=torch.float64))) == 0
