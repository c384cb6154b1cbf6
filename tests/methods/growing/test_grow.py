"""Networks that grow once: what they compute, what they cost, and whether the loss falls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.methods.growing.closed_form import bottleneck, neurons
from dnal.methods.growing.grown import Grown
from dnal.methods.growing.one_growth import _Own, _read, _write, best_amplitude, grow, loss_of
from dnal.methods.growing.sites import growable
from dnal.methods.growing.statistics import measured

EXAMPLES = 96


class Residual(nn.Module):
    """A stream that a convolution begins and a block adds to, with batch norm between, and pooled in the end."""

    def __init__(self, act: Callable[[Tensor], Tensor] = torch.relu_) -> None:
        super().__init__()
        self.act = act
        self.stem, self.norm = nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.first, self.inner = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second, self.outer = nn.Conv2d(4, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = self.act(x + self.outer(self.second(self.act(self.inner(self.first(x))))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 5))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5),
    )  # fmt: skip


def sequence() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 3, 3, padding="same"), nn.GELU(), nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5)
    )


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (linear, (6,)),
    "convolutions": (convolutions, (2, 8, 8)),
    "sequence": (sequence, (2, 8)),
    "residual": (Residual, (2, 8, 8)),
}


def case(name: str) -> tuple[Grown, tuple[Tensor, Tensor]]:
    """A network whose batch norms have seen data, and a batch with something to learn."""
    torch.manual_seed(0)
    make, shape = CASES[name]
    network, inputs = make(), torch.randn(EXAMPLES, *shape)
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(inputs)
    network.eval()
    targets = (inputs.flatten(1)[:, ::3].square().sum(1) * 3).long() % 5
    return Grown.of(network, dnal.Space.of(network, inputs[:2])), (inputs, targets)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def limits_of(grown: Grown, factor: float = 2.0) -> dict[str, float]:
    return {"params": factor * grown.cost()["params"]}


@pytest.mark.parametrize("name", CASES)
def test_a_wider_network_computes_the_same_before_it_has_neurons(name: str) -> None:
    grown, (inputs, _) = case(name)
    copies = grown.copies + torch.arange(len(grown.copies)) % 3
    again = grown.wider(copies).wider(2 * copies)
    with torch.no_grad():
        assert torch.allclose(again.network(inputs), grown.network(inputs), atol=1e-5)
    assert count(again.network) == again.cost()["params"] > 2 * count(grown.network)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", ["tiny", "gradmax", "random-neurons"])
def test_it_grows_within_its_limit_and_its_loss_does_not_rise(name: str, method: str) -> None:
    grown, batch = case(name)
    loss = nn.functional.cross_entropy
    before, state = loss_of(grown.network, [batch], loss), {k: v.clone() for k, v in grown.network.state_dict().items()}
    found = grow(grown, [batch], loss, limits_of(grown), method=method)
    after = loss_of(found.grown.network, [batch], loss)
    assert all(torch.equal(value, state[key]) for key, value in grown.network.state_dict().items())
    assert found.added
    assert count(grown.network) < count(found.grown.network) <= 2 * count(grown.network)
    assert count(found.grown.network) == found.grown.cost()["params"]
    assert after <= before + 1e-5
    if method == "tiny":
        assert after < 0.99 * before
    if method == "gradmax":
        assert after == pytest.approx(before, abs=1e-5)
    again = grow(grown, [batch], loss, limits_of(grown), method=method).grown.network.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in found.grown.network.state_dict().items())


@pytest.mark.parametrize("name", CASES)
def test_the_change_rebuilds_the_grown_network(name: str) -> None:
    grown, batch = case(name)
    found = grow(grown, [batch], nn.functional.cross_entropy, limits_of(grown)).grown
    change = found.change()
    plain = type(change).of_document(change.document()).outline(grown.origin)
    plain.load_state_dict(found.network.state_dict())
    with torch.no_grad():
        expected = found.network(batch[0])
        assert torch.equal(plain.eval()(batch[0]), expected)
        assert torch.equal(change.apply(grown.origin).eval()(batch[0]), expected)
    macs = dnal.Space.of(found.network, batch[0][:2]).full_cost
    assert macs == {"macs": found.cost()["macs"], "params": count(found.network)}


@pytest.mark.parametrize("name", ["convolutions", "residual"])
def test_batch_norm_passes_new_channels_in_training_too(name: str) -> None:
    grown, batch = case(name)
    found = grow(grown, [batch], nn.functional.cross_entropy, limits_of(grown)).grown
    with torch.no_grad():
        expected = found.network.eval()(batch[0])
        before = grown.network.eval()(batch[0])
        trained, untouched = found.network.train()(batch[0]), grown.network.train()(batch[0])
    new, drift = (expected - before).norm(), (untouched - before).norm()
    assert float((trained - expected).norm()) < 0.2 * float(new) + 2 * float(drift)


def test_the_statistics_of_a_network_are_those_of_its_samples() -> None:
    grown, (inputs, targets) = case("linear")
    network = grown.network
    sites, _ = growable(network, grown.space)
    found = measured(
        network, sites[:1], [(inputs[:40], targets[:40]), (inputs[40:], targets[40:])], nn.functional.cross_entropy
    )
    ones = torch.ones(EXAMPLES, 1)
    read = network[1](network[0](inputs))  # type: ignore[index]
    made = network[2](read).detach().requires_grad_()  # type: ignore[index]
    loss = nn.functional.cross_entropy(network[3:](made), targets, reduction="sum")  # type: ignore[index]
    (gradient,) = torch.autograd.grad(loss, made)
    by_hand = bottleneck(torch.cat([inputs, ones], 1), torch.cat([read, ones], 1).detach(), -gradient)
    (pairing,) = found.pairings
    second, cross = pairing.sums()
    assert torch.allclose(second.float(), by_hand.second, atol=1e-5)
    assert torch.allclose(cross.float(), by_hand.cross, atol=1e-5)
    assert found.psi["2"] == pytest.approx(float(by_hand.psi), rel=1e-4)


LINEAR: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "pooled": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Flatten(),
            nn.Linear(16, 5),
        ),
        (2, 8, 8),
    ),
    "oblong": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, (3, 1), dilation=2), nn.Conv2d(3, 4, (1, 2), padding=(1, 0)), nn.Flatten(),
            nn.Linear(56, 5),
        ),
        (2, 9, 3),
    ),
    "sequence": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 3, 3, padding="same"), nn.Conv1d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(12, 5)
        ),
        (2, 8),
    ),
    "residual": (lambda: Residual(nn.Identity()), (2, 8, 8)),
}  # fmt: skip
"""Networks without activations, in which first order is exact."""


@pytest.mark.parametrize("name", LINEAR)
def test_the_statistics_foretell_what_any_small_new_neuron_does_to_the_loss(name: str) -> None:
    torch.manual_seed(0)
    make, shape = LINEAR[name]
    network, inputs, loss = make().eval(), torch.randn(24, *shape), nn.functional.cross_entropy
    targets = torch.arange(24) % 5
    grown = Grown.of(network, dnal.Space.of(network, inputs[:2]))
    sites, why = growable(network, grown.space)
    assert sites
    assert not why
    found = measured(network, sites, [(inputs, targets)], loss, project=False)
    assert len(found.pairings) >= len(sites)
    assert not found.unseen
    for pairing in found.pairings:
        _, cross = pairing.sums(whole=True)
        alpha, omega = torch.randn(1, len(cross)).double(), torch.randn(1, cross.size(1)).double()
        copies = grown.copies.clone()
        copies[pairing.site.variables[1]] += 1
        own = _Own(grown, grown.wider(copies))
        own.wider.network.double()
        step = 1e-4
        before = loss_of(own.wider.network, [(inputs.double(), targets)], loss)
        with torch.no_grad():
            writer = pairing.site.writers[pairing.writer]
            _write(own, pairing.site, pairing.writer, writer, step * alpha)
            for path, part in pairing.apart(omega, whole=True).items():
                _read(own, pairing.site, path, part)
        change = loss_of(own.wider.network, [(inputs.double(), targets)], loss) - before
        assert change == pytest.approx(float(-step * (alpha @ cross @ omega.T)), rel=2e-2), pairing.writer


def test_a_convolution_of_one_position_grows_as_a_linear_layer() -> None:
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 5))
    spread = nn.Sequential(nn.Conv2d(6, 3, 1), nn.ReLU(), nn.Conv2d(3, 5, 1), nn.Flatten())
    for ours, theirs in zip(spread.parameters(), flat.parameters(), strict=True):
        ours.data.copy_(theirs.data.view_as(ours))
    inputs, targets = torch.randn(EXAMPLES, 6), torch.arange(EXAMPLES) % 5
    found = []
    for network, given in ((flat, inputs), (spread, inputs[:, :, None, None])):
        grown = Grown.of(network, dnal.Space.of(network, given[:2]))
        wider = grow(grown, [(given, targets)], nn.functional.cross_entropy, {"params": 75}).grown.network
        with torch.no_grad():
            found.append(wider(given))
    assert torch.allclose(found[0], found[1], atol=1e-4)


def test_with_the_wrong_sign_of_the_goal_nothing_is_gained() -> None:
    grown, (inputs, targets) = case("linear")
    found = grow(grown, [(inputs, targets)], nn.functional.cross_entropy, limits_of(grown))
    assert all(added.amplitude >= 0 for added in found.added)
    assert any(added.amplitude > 0 for added in found.added)
    wrong = grow(
        grown, [(inputs, targets)], lambda outputs, targets: -nn.functional.cross_entropy(outputs, targets),
        limits_of(grown), search=[],
    )  # fmt: skip
    assert wrong.added  # what follows the loss upwards
    amplitude, _ = best_amplitude(lambda amplitude: (amplitude + 0.3) ** 2)
    assert -0.5 <= amplitude <= -0.2
    assert best_amplitude(lambda amplitude: abs(amplitude))[0] == 0.0


def test_at_amplitude_zero_the_function_stays_and_new_weights_can_learn() -> None:
    grown, (inputs, targets) = case("linear")
    calls = []

    def unhelpful(outputs: Tensor, targets: Tensor) -> Tensor:  # nothing that is added lowers it
        calls.append(outputs)
        value = nn.functional.cross_entropy(outputs, targets)
        return value if len(calls) <= 3 else value.detach() * 0 + len(calls)

    found = grow(grown, [(inputs, targets)], unhelpful, limits_of(grown))
    assert all(added.amplitude == 0 for added in found.added)
    with torch.no_grad():
        assert torch.allclose(found.grown.network(inputs), grown.network(inputs), atol=1e-5)
    network = found.grown.network
    nn.functional.cross_entropy(network(inputs), targets).backward()
    gradient = network[2].weight.grad  # type: ignore[index, union-attr]
    assert bool(gradient.abs().sum(0).gt(0).all())  # type: ignore[union-attr, operator]


def test_moments_are_carried_along() -> None:
    grown, (inputs, targets) = case("residual")
    grown.network.train()
    optimizer = torch.optim.Adam(grown.network.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(grown.network(inputs), targets).backward()
        optimizer.step()
    wider = grow(grown, [(inputs, targets)], nn.functional.cross_entropy, limits_of(grown)).grown
    new = torch.optim.Adam(wider.network.parameters(), lr=0.01)
    grown.carry(optimizer, wider, new)
    for (name, before), after in zip(grown.network.named_parameters(), wider.network.parameters(), strict=True):
        old, own = optimizer.state[before]["exp_avg"], new.state[after]["exp_avg"]
        assert own.shape == after.shape
        assert torch.allclose(own.abs().sum(), old.abs().sum()), name
        assert new.state[after]["step"] == 3


def test_what_cannot_grow_says_why() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2))
    inputs = torch.randn(8, 4)
    sites, _why = growable(network, dnal.Space.of(network, inputs))
    assert not sites
    with pytest.raises(dnal.UserError, match="no layer of this network can grow"):
        grow(
            Grown.of(network, dnal.Space.of(network, inputs)), [(inputs, torch.zeros(8, dtype=torch.long))],
            nn.functional.cross_entropy, {"params": 100},
        )  # fmt: skip
    grown, batch = case("linear")
    with pytest.raises(dnal.UserError, match="bounded by params and macs, not by latency"):
        grow(grown, [batch], nn.functional.cross_entropy, {"latency": 1.0})
    batch = (torch.randn(8, 6), torch.arange(8) % 5)
    network = linear()
    space = dnal.Space.of(network, batch[0])
    with pytest.raises(dnal.UserError, match=r"in eval mode, and it fails: .*; give a loss"):
        grow(Grown.of(network, space), [batch], lambda outputs, targets: outputs["losses"], {"params": 1e6})
    with pytest.raises(dnal.UserError, match="unknown way to grow 'tinny'"):
        grow(grown, [batch], nn.functional.cross_entropy, {"params": 100}, method="tinny")


def test_neurons_of_a_real_layer_lower_the_bottleneck_as_foretold() -> None:
    grown, batch = case("linear")
    sites, _ = growable(grown.network, grown.space)
    found = measured(grown.network, sites, [batch], nn.functional.cross_entropy)
    for pairing in found.pairings:
        second, cross = pairing.sums()
        gain = float(neurons(second, cross, 100).s.square().sum())
        assert 0 < gain <= sum(found.psi[path] for path in pairing.readers) * (1 + 1e-6)
