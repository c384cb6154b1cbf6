"""What the absence of a branch costs, against least squares by hand, and branches that cost nothing."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dnal
from dnal.repair.absence import Absence, absences
from dnal.repair.curves import curves
from dnal.repair.order import leaving
from dnal.repair.rebuild import rebuilt
from networks import Net

TINY = 1e-10
"""A ridge that changes no digit that is looked at."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(count: int) -> Tensor:
    return torch.arange(count) % 3


class Block(nn.Module):
    def __init__(self, width: int = 6, hidden: int = 5) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x).tanh())


class LinearBlock(Block):
    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.a(x))


def residual() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), Block(), Block(), nn.Linear(6, 3)).double().eval()


def without(space: dnal.Space, *branches: int) -> Tensor:
    stays = torch.ones(space.num_gates, dtype=torch.bool)
    stays[[space.branches[number].variable for number in branches]] = False
    return stays


def squares(network: nn.Module, layer: nn.Linear, x: Tensor, y: Tensor) -> np.ndarray:
    """The mean squared gradient of each example's own loss by what a layer makes."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, args, out: seen.append(out))
    found = torch.zeros(layer.out_features, dtype=torch.float64)
    for i in range(len(x)):
        seen.clear()
        loss = F.cross_entropy(network(x[i : i + 1]), y[i : i + 1])
        found += torch.autograd.grad(loss, seen[0])[0][0].square() / len(x)
    handle.remove()
    return found.numpy()


def lost(layer: nn.Linear, minded: np.ndarray, there: Tensor, missing: Tensor) -> float:
    """1/2 sum_o G_o mean_t (what the layer makes of what is missing, less the best guess of it)^2."""
    wanted = (missing @ layer.weight.T).detach().numpy()
    given = np.concatenate((there.detach().numpy(), np.ones((len(there), 1))), 1)
    rest = wanted - given @ np.linalg.lstsq(given, wanted, rcond=None)[0]
    return float(0.5 * (minded * (rest**2).mean(0)).sum())


def test_the_loss_is_what_least_squares_leaves_at_each_layer_behind() -> None:
    network, x, y = residual(), drawn(30, 4), labels(30)
    space = dnal.Space.of(network, x[:2], depth=True)
    assert [branch.name for branch in space.branches] == ["1", "2"]
    found = absences(network, space, [(x, y)], F.cross_entropy, ridge=TINY)
    stem, one, two, head = network
    stream = stem(x)
    first = one(stream) - stream
    second = two(one(stream)) - one(stream)
    g = {layer: squares(network, layer, x, y) for layer in (two.a, head)}
    expected = [
        # Behind the first: the second block, which answers as before, and the head, which reads both without it.
        lost(two.a, g[two.a], stream, first) + lost(head, g[head], stream + second, first),
        lost(head, g[head], stream + first, second),
    ]
    assert [each.loss for each in found] == pytest.approx(expected, rel=1e-6)
    assert min(expected) > 1e-6
    several = absences(
        network, space, [(x[i : i + 10 + i], y[i : i + 10 + i]) for i in (0, 10)], F.cross_entropy, ridge=TINY
    )
    assert [each.loss for each in several] == pytest.approx(expected, rel=1e-4)


CONSTANT, LINEAR, BENT = "constant", "linear", "bent"


@pytest.mark.parametrize(
    ("blocks", "leaving_too"),
    [
        ((CONSTANT, BENT), (0,)),
        ((BENT, CONSTANT), (1,)),
        ((CONSTANT, CONSTANT), (0, 1)),
        ((LINEAR, LINEAR), (0,)),
        ((BENT, LINEAR), (1,)),
        ((LINEAR, LINEAR), (0, 1)),
        ((LINEAR, CONSTANT), (0, 1)),
    ],
)
def test_what_the_stream_foretells_costs_nothing_and_its_repair_changes_no_output(
    blocks: tuple[str, str], leaving_too: tuple[int, ...]
) -> None:
    """A constant goes to the biases of all layers behind it, a linear function to the weights of those that read what
    it was made of."""
    network, x, y = residual(), drawn(80, 4), labels(80)
    for number, kind in enumerate(blocks, start=1):
        if kind == LINEAR:
            network[number].__class__ = LinearBlock
        if kind == CONSTANT:
            nn.init.zeros_(network[number].b.weight)
    space = dnal.Space.of(network, x[:2], depth=True)
    found = absences(network, space, [(x, y)], F.cross_entropy, ridge=TINY)
    for number, kind in enumerate(blocks):
        if kind == BENT:
            assert found[number].loss > 1e-6
        else:
            assert found[number].loss == pytest.approx(0, abs=1e-9)
    stays = without(space, *leaving_too)
    whole = network(x)
    bare = dnal.compact(network, dnal.Architecture.of(space, stays))(x)
    assert not torch.allclose(bare, whole, atol=1e-2), "without repair it is missed"
    repaired = dnal.compact(rebuilt(network, space, stays, [(x, y)], ridge=TINY), dnal.Architecture.of(space, stays))
    assert torch.allclose(repaired(x), whole, atol=1e-5)
    assert torch.allclose(repaired(drawn(9, 4, seed=1)), network(drawn(9, 4, seed=1)), atol=1e-5)


def test_the_constant_of_a_convolution_goes_to_the_norm_behind_the_next_one() -> None:
    """Away from the border, where what is padded is not part of the stream."""

    def compute(n: Net, x: Tensor) -> Tensor:
        x = n.stem(x)
        x = x + n.up(n.down(x).relu())
        return n.norm(n.last(x))

    torch.manual_seed(0)
    network = Net(
        compute, stem=nn.Conv2d(1, 6, 1), down=nn.Conv2d(6, 4, 3, padding=1), up=nn.Conv2d(4, 6, 1),
        last=nn.Conv2d(6, 5, 3, bias=False), norm=nn.BatchNorm2d(5),
    ).eval()  # fmt: skip
    nn.init.zeros_(network.up.weight)
    x = torch.randn(12, 1, 8, 8)
    space = dnal.Space.of(network, x[:2], depth=True)
    batches = [(x, torch.zeros(12, 6, 6, dtype=torch.long))]
    found = absences(network, space, batches, F.cross_entropy, ridge=1e-6)
    assert [each.loss for each in found] == [pytest.approx(0, abs=1e-6)]
    repaired = rebuilt(network, space, without(space, 0), batches, ridge=1e-6)
    assert not torch.equal(repaired.norm.running_mean, network.norm.running_mean)
    small = dnal.compact(repaired, dnal.Architecture.of(space, without(space, 0)))
    assert torch.allclose(small(x), network(x), atol=1e-4)


def test_nothing_of_the_network_changes() -> None:
    network = dnal.models.create("cifar/resnet20", classes=3, input_shape=(3, 8, 8)).train()
    x, before = torch.randn(6, 3, 8, 8), copy.deepcopy(network.state_dict())
    space = dnal.Space.of(network, x[:2], depth=True)
    state = torch.random.get_rng_state()
    found = absences(network, space, [(x, labels(6))], F.cross_entropy)
    assert [each.branch for each in found] == space.branches
    assert len(found) == 9
    assert all(each.loss >= 0 for each in found)
    assert network.training
    assert torch.equal(state, torch.random.get_rng_state())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "branches"),
    [
        ("transformer/small", (8, 64), 4),
        pytest.param("small/convnext", (3, 16, 16), 6, marks=pytest.mark.slow),
        pytest.param("small/vit", (3, 16, 16), 8, marks=pytest.mark.slow),
    ],
)
def test_streams_whose_channels_are_fixed_are_read_too(name: str, shape: tuple[int, ...], branches: int) -> None:
    torch.manual_seed(0)
    network = dnal.models.create(name, classes=3, input_shape=shape)
    inputs = dnal.data.KINDS[dnal.models.kind_of(name)].drawn(shape, 12)
    space = dnal.Space.of(network, inputs, depth=True)
    found = absences(network, space, [(inputs, labels(12))], F.cross_entropy)
    assert len(found) == len(space.branches) == branches
    assert all(each.loss > 0 for each in found)
    stays = without(space, 0)
    small = dnal.compact(rebuilt(network, space, stays, [(inputs, labels(12))]), dnal.Architecture.of(space, stays))
    bare = dnal.compact(network, dnal.Architecture.of(space, stays))
    given = inputs if isinstance(inputs, dict) else {"x": inputs}
    network.eval()
    whole = network(**given)
    assert (small.eval()(**given) - whole).abs().mean() < 0.5 * (bare.eval()(**given) - whole).abs().mean()


def test_a_stream_that_ends_in_the_outputs_has_no_absence() -> None:
    """No layer behind it could be rebuilt."""
    network, x = nn.Sequential(nn.Linear(4, 6), Block(), Block()).double(), drawn(20, 4)
    space = dnal.Space.of(network, x[:2], depth=True)
    assert len(space.branches) == 2
    assert absences(network, space, [(x, labels(20))], F.cross_entropy) == []


def test_a_branch_leaves_when_its_absence_loses_least_for_what_it_saves() -> None:
    """And pays for what its own channels have not lost before it."""
    network, x, y = residual(), drawn(60, 4), labels(60)
    space = dnal.Space.of(network, x[:2], depth=True)
    found = curves(network, space, [(x, y)], F.cross_entropy)
    one, two = space.branches
    inner = next(c for c in found if c.group.name.startswith("1."))
    stream = next(c for c in found if c.group.width == 6)

    def order(first: float, second: float) -> list[int]:
        return leaving(space, found, {"macs": 1.0}, [Absence(one, first), Absence(two, second)]).argsort().tolist()

    assert order(0.0, 1e9)[0] == one.variable
    assert order(1e9, 0.0)[0] == two.variable
    late = order(1e9, 1e9)
    assert min(late.index(one.variable), late.index(two.variable)) > late.index(int(stream.order[0]))
    # As dear as all of its channels together except for the last, it costs nothing more once they have left.
    together = order(float(inner.losses[-1]), 1e9)
    left = together[: together.index(one.variable)]
    assert len(set(left) & set(inner.group.variables.tolist())) <= inner.group.width - 1
    assert len(leaving(space, found, {"macs": 1.0}).isinf().nonzero()) == 2


@functools.cache
def trained() -> tuple[nn.Module, dnal.Space, list[tuple[Tensor, Tensor]]]:
    """Four blocks, the parts of which say less and less."""
    digits = dnal.data.load("digits", limit_train=400)
    batches = [(x.flatten(1), y) for x, y in dnal.data.loaders(digits, 100).train]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 16), *(Block(16, 24) for _ in range(4)), nn.Linear(16, 10))
    with torch.no_grad():
        for number in range(4):
            network[1 + number].b.weight *= 4.0 / 3**number
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        for x, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(network(x), y).backward()
            optimizer.step()
    return network.eval(), dnal.Space.of(network, batches[0][0][:2], depth=True), batches


def test_it_ranks_branches_as_the_loss_itself_does() -> None:
    network, space, batches = trained()
    found = absences(network, space, batches, F.cross_entropy)
    x, y = torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
    rises = []
    with torch.no_grad():
        for number in range(4):
            small = rebuilt(network, space, without(space, number), batches)
            rises.append(float(F.cross_entropy(small(x), y) - F.cross_entropy(network(x), y)))
    foretold = [each.loss for each in found]
    assert np.argmax(foretold) == np.argmax(rises)
    assert np.corrcoef(np.log(foretold), np.log(rises))[0, 1] > 0.95
    assert all(1 / 5 < one / other < 5 for one, other in zip(foretold, rises, strict=True))
