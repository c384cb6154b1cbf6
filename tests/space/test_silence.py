"""Networks whose outputs show nothing of what is removed: it is compared elsewhere, or nothing is taken as shown."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import dnal
from independent import assert_exact, coin_flips, difference, run, zero_twin

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
NO_OUTPUT_MOVES = "no output moves with it"


class Scaled(nn.Module):
    """The channels of ``b`` are multiplied by their number over 8: without some of them the others change. What
    ``end`` makes of the result decides whether that shows."""

    def __init__(self, end: Callable[[Tensor], Tensor | list[Tensor]], bias: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        nn.init.constant_(self.c.bias, bias)
        self.end = end

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        y = self.b(self.a(x).relu()).relu()
        return self.end(self.c(y * (y.shape[1] / 8.0)))


def names(network: nn.Module) -> list[str]:
    return [group.name for group in dnal.Space.of(network.eval(), X).groups]


@pytest.mark.parametrize(
    ("end", "bias"),
    [
        (torch.relu, 5.0),
        (torch.relu, -50.0),  # all outputs are zero
        (torch.sigmoid, 90.0),  # or one
        (lambda y: [y.relu(), torch.ones(3)], -50.0),  # beside one that is constant
        (lambda y: y[y[:, 0] > 1e6], 0.0),  # nothing is found, whatever the weights are
        (lambda y: (y > 1e6).float(), 0.0),
    ],
)
def test_what_does_not_show_in_the_outputs_is_found_all_the_same(
    end: Callable[[Tensor], Tensor | list[Tensor]], bias: float
) -> None:
    network = Scaled(end, bias)
    assert names(network) == names(Scaled(lambda y: y)) == ["a.weight"]
    space = dnal.Space.of(network, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these outputs show nothing
        architecture = coin_flips(space, 1)
        small = dnal.compact(network, architecture)
    zero = zero_twin(network, space, architecture.open)
    for one in (zero, small):
        one.end = lambda y: y
    assert difference(run(zero, X), run(small, X)) < 1e-5


class Hidden(nn.Module):
    """Nothing of what it computes shows, neither in its outputs nor in a choice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.block, self.b = nn.Linear(4, 8), nn.Sequential(nn.Linear(8, 8), nn.ReLU()), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return (self.b(y + self.block(y)).sigmoid() - 2).relu()


def test_nothing_is_offered_where_nothing_shows() -> None:
    space = dnal.Space.of(Hidden().eval(), X, depth=True)
    assert not space.groups
    assert not space.branches
    assert any(NO_OUTPUT_MOVES in fixed.reason for fixed in space.fixed)


class Shown(Hidden):
    """The same, with the result beside it: a constant output says nothing about the others."""

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        y = self.a(x)
        y = self.b(y + self.block(y))
        return [(y.sigmoid() - 2).relu(), torch.ones(2, 2), y]


def test_a_constant_output_beside_others_freezes_nothing() -> None:
    network = Shown().eval()
    space = dnal.Space.of(network, X, depth=True)
    assert [group.name for group in space.groups] == ["a.weight"]
    assert len(space.branches) == 1
    space = dnal.Space.of(network, X)
    architecture = coin_flips(space, 2)
    zero, small = zero_twin(network, space, architecture.open), dnal.compact(network, architecture)
    assert difference(run(zero, X)[1:], run(small, X)[1:]) < 1e-5


class ScaledBranch(nn.Module):
    """A residual branch with a layer scale of a millionth, which hides that it is wrong without some channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.into, self.out, self.last = (nn.Linear(a, b) for a, b in ((4, 8), (8, 12), (12, 8), (8, 3)))
        self.scale = nn.Parameter(torch.full((8,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = self.into(x).relu()
        return self.last(x + self.scale * self.out(y * (y.shape[1] / 12.0)))


def test_a_branch_that_is_scaled_to_nothing_is_looked_at() -> None:
    network = ScaledBranch().eval()
    space = dnal.Space.of(network, X)
    assert ("first.weight", 0) in [place for group in space.groups for place in group.places]
    assert ("into.weight", 0) not in [place for group in space.groups for place in group.places]
    nn.init.constant_(network.scale, 1.0)
    assert_exact(network, X, space, coin_flips(space, 1))


def test_compact_says_where_its_check_shows_nothing() -> None:
    network = Scaled(torch.relu, 5.0).eval()
    architecture = coin_flips(dnal.Space.of(network, X), 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dnal.compact(network, architecture)
    silent = copy.deepcopy(network)
    nn.init.constant_(silent.c.bias, -50.0)
    with pytest.warns(UserWarning, match="could not check its result.*whatever its weights"):
        dnal.compact(silent, architecture)


class Greedy(nn.Module):
    """Asks for more memory than there is once it has lost channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.greedy = True

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.greedy and y.shape[1] < 8:
            y = y + torch.empty(2**60, dtype=torch.uint8)[:1]
        return self.b(y)


def test_want_of_memory_is_no_changed_output() -> None:
    network = Greedy().eval()
    with pytest.raises(RuntimeError, match=r"allocate memory|not enough memory"):
        dnal.Space.of(network, X)
    network.greedy = False
    architecture = coin_flips(dnal.Space.of(network, X), 1)
    network.greedy = True
    with pytest.raises(RuntimeError, match=r"allocate memory|not enough memory"):
        dnal.compact(network, architecture)
