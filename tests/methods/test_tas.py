import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn

import dnal
from dnal.methods.tas.tas import WidthSupernet, cost_loss, drawn, search, tau_at, widths_to_try
from dnal.selection.select import select
from dnal.selection.widths import WidthRule
from dnal.train.phase import Context, Phase

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def block() -> nn.Module:
    """A stream with a residual branch, and a group without a norm."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(1, 10, 3, padding=1), nn.BatchNorm2d(10)
            self.first, self.second = nn.Conv2d(10, 20, 3, padding=1), nn.Conv2d(20, 10, 3, padding=1)
            self.norm1, self.norm2 = nn.BatchNorm2d(20), nn.BatchNorm2d(10)
            self.hidden, self.head = nn.Linear(10, 12), nn.Linear(12, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.relu(self.norm(self.stem(x)))
            x = F.relu(x + self.norm2(self.second(F.relu(self.norm1(self.first(x))))))
            logits: torch.Tensor = self.head(F.relu(self.hidden(x.mean(dim=(2, 3)))))
            return logits

    torch.manual_seed(0)
    network = Block()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@pytest.fixture
def residual() -> tuple[nn.Module, dnal.Space]:
    network = block()
    return network, dnal.Space.of(network, torch.randn(2, 1, 6, 6), depth=True)


def test_the_widths_are_tenths_that_the_rule_allows(space: dnal.Space) -> None:
    small, large = space.groups
    assert widths_to_try(space, small) == [2, 3, 4, 5, 6, 7, 8]
    assert widths_to_try(space, large) == [3, 4, 6, 7, 8, 9, 10, 12]
    assert widths_to_try(space, large, WidthRule(divisor=4)) == [4, 8, 12]


def test_tau_falls_from_5_to_a_tenth() -> None:
    assert tau_at(0) == pytest.approx(5)
    assert tau_at(0.5) == pytest.approx(2.55)
    assert tau_at(1) == pytest.approx(0.1)


def test_two_different_choices_are_drawn_by_their_probabilities_and_never_an_impossible_one() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 0.0, 3.0, 0.0], [1.0, 0.0, -torch.inf, -torch.inf]]).repeat(500, 1)
    choices, shares = drawn(logits, tau=0.5)
    assert bool((choices[:, 0] != choices[:, 1]).all())
    assert torch.allclose(shares.sum(dim=1), torch.ones(1000))
    assert bool((choices[1::2] < 2).all())
    assert float((choices[::2] == 2).any(dim=1).float().mean()) > 0.9  # of the uniform one it would be a half


def test_the_gradient_comes_through_the_two_drawn_shares() -> None:
    torch.manual_seed(0)
    logits = torch.zeros(1, 8, requires_grad=True)
    choices, shares = drawn(logits, tau=1.0)
    shares[0, 0].backward()
    assert logits.grad is not None
    first, second = choices[0].tolist()
    assert float(logits.grad[0, first]) > 0 > float(logits.grad[0, second])
    others = [k for k in range(8) if k not in (first, second)]
    assert float(logits.grad[0, others].abs().max()) < 1e-6


def test_the_cost_loss_pushes_up_below_the_target_and_down_above_it() -> None:
    for found, sign in ((120.0, 1), (94.0, -1), (97.0, 0), (100.0, 0)):
        expected = torch.tensor(80.0, requires_grad=True)
        cost_loss(expected, found, target=100.0).backward()
        assert expected.grad is not None
        assert float(expected.grad) == pytest.approx(sign / 80)


def test_the_expected_cost_is_that_of_the_expected_widths(network: nn.Module, space: dnal.Space) -> None:
    supernet = WidthSupernet(network, space)
    nn.init.normal_(supernet.logits)
    small, large = (
        float(supernet.logits[row, : len(counts)].detach().softmax(0) @ torch.tensor(counts, dtype=torch.float))
        for row, counts in enumerate(widths_to_try(space, group) for group in space.groups)
    )
    expected = 36 * 9 * (small + small * large) + 3 * large
    assert float(space.costs["macs"](supernet.expected().detach())) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("start", [1, -1])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_the_cost_leads_to_the_target_from_both_sides(start: int, share: float) -> None:
    torch.manual_seed(0)
    network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    space = dnal.Space.of(network, torch.randn(2, 1, 8, 8))
    supernet, limits = WidthSupernet(network, space), {"macs": share * space.full_cost["macs"]}
    optimizer = torch.optim.Adam(supernet.distributions(), lr=0.05, betas=(0.5, 0.999))
    with torch.no_grad():
        supernet.logits += start * torch.arange(8)
    for _ in range(300):
        for parameter in supernet.distributions():
            parameter.grad = torch.zeros_like(parameter)
        supernet.add_cost_gradient(limits)
        optimizer.step()
        supernet.remember(limits)
    likely, found = (space.cost_of(gates)["macs"] for gates in (supernet.most_likely(), supernet.found()))
    assert abs(likely / limits["macs"] - 1) <= 0.3  # alone, the cost steps to and fro
    assert abs(found / limits["macs"] - 1) <= (0.05 if supernet.met else 0.3)


def test_the_last_architecture_on_target_is_found(network: nn.Module, space: dnal.Space) -> None:
    supernet = WidthSupernet(network, space)

    def likely(first: int, second: int) -> dict[str, float]:
        with torch.no_grad():
            supernet.logits.zero_()
            supernet.logits[0, first] = supernet.logits[1, second] = 1
        return {"macs": space.cost_of(supernet.most_likely())["macs"]}

    on_target, other = likely(3, 5), likely(5, 3)
    assert on_target != other
    for choices, expected in (((0, 0), (0, 0)), ((6, 7), (6, 7)), ((3, 5), (3, 5)), ((0, 0), (3, 5)), ((6, 7), (3, 5))):
        likely(*choices)
        supernet.remember(on_target)
        assert tuple(supernet.choices.tolist()) == expected


def test_gradients_reach_all_distributions(residual: tuple[nn.Module, dnal.Space]) -> None:
    network, space = residual
    assert space.num_branches == 1
    supernet = WidthSupernet(network, space)
    assert len(supernet.norms) == 3
    assert supernet.logits.shape == (3, 8)
    seen = torch.zeros_like(supernet.logits)
    for _ in range(20):
        supernet.zero_grad()
        F.cross_entropy(supernet(torch.randn(4, 1, 6, 6)), torch.tensor([0, 1, 2, 0])).backward()
        assert supernet.logits.grad is not None
        assert supernet.keep.grad is not None
        assert float(supernet.keep.grad) != 0
        seen += supernet.logits.grad.abs()
    assert bool((seen[:, :-1] > 0).any(dim=1).all())


@pytest.mark.parametrize("kept", [-1.0, 1.0])
def test_the_most_likely_architecture_is_exactly_the_compact_network(
    residual: tuple[nn.Module, dnal.Space], kept: float
) -> None:
    """Through what is settled, with the norms at the statistics of the candidates."""
    network, space = residual
    supernet = WidthSupernet(network, space)
    with torch.no_grad():
        supernet.logits.normal_()
        supernet.keep.fill_(kept)
        for parameter in supernet.norms.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter))
    supernet.eval()
    x = torch.randn(4, 1, 6, 6)
    with torch.no_grad():
        expected = supernet(x)
    supernet.remember({})
    supernet.settle()
    architecture = dnal.Architecture.of(space, supernet.found() > 0)
    with torch.no_grad():
        found = dnal.compact(network.eval(), architecture)(x)
    assert torch.allclose(found, expected, atol=1e-5)
    assert float(space.costs["macs"](architecture.open)) == pytest.approx(space.cost_of(supernet.most_likely())["macs"])


def test_widths_that_fit_are_the_most_likely_ones_and_others_are_scaled(network: nn.Module, space: dnal.Space) -> None:
    supernet = WidthSupernet(network, space)
    with torch.no_grad():
        supernet.logits.zero_()
        supernet.logits[0, 3] = supernet.logits[1, 5] = 1  # 5 of 8 and 9 of 12
    supernet.remember({})
    own = space.cost_of(supernet.most_likely())
    assert torch.equal(select(space, supernet.scores(), {"macs": own["macs"]}), supernet.most_likely() > 0)
    less = select(space, supernet.scores(), {"macs": 0.4 * own["macs"]})
    widths = [int(less[group.variables].sum()) for group in space.groups]
    assert abs(widths[0] / 5 - widths[1] / 9) <= 0.2


def test_nothing_of_the_search_stays_in_the_network(
    fresh_network: Callable[[], nn.Module], space: dnal.Space, batches: Batches
) -> None:
    network = fresh_network()
    plain = copy.deepcopy(network)
    supernet = WidthSupernet(network, space)
    torch.manual_seed(0)
    limits = {"macs": 0.5 * space.full_cost["macs"]}
    context = Context(Fabric(accelerator="cpu", devices=1), batches[:3], F.cross_entropy)
    scores = search(supernet, limits, batches[3:], Phase("architecture", 10, 0.05), context)
    history = context.history
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert [type(module) for module in network.modules()] == [type(module) for module in plain.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert not torch.equal(network.state_dict()["1.weight"], plain.state_dict()["1.weight"])
    assert len(history) == 10
    assert space.cost_of(select(space, scores, limits))["macs"] <= limits["macs"]


def test_norms_that_do_more_than_normalise_are_left_to_the_masks(space: dnal.Space) -> None:
    class WithRelu(nn.BatchNorm2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(super().forward(x))

    network = nn.Sequential(
        nn.Conv2d(1, 10, 3), WithRelu(10), nn.Conv2d(10, 12, 3), nn.BatchNorm2d(12), nn.Flatten(), nn.Linear(48, 3)
    )
    of_network = dnal.Space.of(network, torch.randn(2, 1, 6, 6))
    supernet = WidthSupernet(network, of_network)
    assert len(supernet.norms) == 1
    F.cross_entropy(supernet(torch.randn(4, 1, 6, 6)), torch.tensor([0, 1, 2, 0])).backward()
    assert supernet.logits.grad is not None
    assert bool((supernet.logits.grad.abs().sum(dim=1) > 0).all())
