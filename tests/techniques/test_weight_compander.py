"""The weight compander: exact facts against the formulas of the paper, written out with plain tensors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import Tensor, nn

import dnal
from dnal.base.errors import UserError
from dnal.techniques import TECHNIQUES
from dnal.techniques.weight_compander import Companded, Psi, WeightCompander
from dnal.train.phase import Context, Phase, run_phase

LEARNS = ("none", "network", "layer")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2), nn.Flatten(), nn.Linear(100, 3)
    )


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(8, 1, 6, 6, generator=draw), torch.randint(3, (8,), generator=draw)


def step(one: nn.Module, companded: Companded, optimizer: torch.optim.Optimizer) -> None:
    inputs, targets = batch()
    optimizer.zero_grad()
    F.cross_entropy(one(inputs), targets).backward()
    companded.before_step(optimizer)
    optimizer.step()
    companded.after_step(optimizer)


@pytest.mark.parametrize("learn", LEARNS)
@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (1.0, 0.6), (0.7, 1.0)])
def test_it_computes_what_it_did_and_again_when_it_is_folded(learn: Any, a: float, b: float) -> None:
    plain, own = (network().to(memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
    inputs, _ = batch()
    before = plain(inputs)
    companded = Companded(own, a, b, learn)
    assert torch.allclose(own(inputs), before, atol=1e-5)
    held, outputs = weights_of(own), own(inputs)
    companded.fold()
    assert all(torch.equal(weight, held[name]) for name, weight in weights_of(own).items())
    assert torch.allclose(own(inputs), outputs, atol=1e-6)
    assert [type(module) for module in own.modules()] == [type(module) for module in plain.modules()]
    assert list(own.state_dict()) == list(plain.state_dict())
    assert [p.stride() for p in own.parameters()] == [p.stride() for p in plain.parameters()]
    assert [name for name, _ in own.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert all(
        torch.allclose(own.state_dict()[n], v, atol=1e-6)
        for n, v in network().state_dict().items()
        if "num" not in n and "running" not in n
    )


def test_only_weights_of_convolutions_and_linear_layers() -> None:
    one = network()
    Companded(one)
    names = {name for name, _ in one.named_parameters()}
    assert names == {
        "0.bias", "0.parametrizations.weight.original", "1.weight", "1.bias", "3.bias",
        "3.parametrizations.weight.original", "5.bias", "5.parametrizations.weight.original",
    }  # fmt: skip


def test_a_weight_is_below_a_half_pi_and_moves_as_the_formula_says() -> None:
    psi = Psi(0.7, 0.4, learnt=False)
    v = torch.cat([torch.linspace(-50, 50, 1001), torch.tensor([1e6, -1e6])]).double().requires_grad_()
    w = psi(v)
    assert bool((w.abs() < 0.7 * math.pi / 2).all())
    assert torch.allclose(w, -psi(-v)), "odd"
    w.sum().backward()
    assert torch.allclose(psi.slope(v.detach()), v.grad)  # type: ignore[arg-type]
    assert torch.allclose(psi.slope(v.detach()), 0.7 / (0.4 * (1 + v.detach() ** 2 / 0.4**2)))
    assert torch.allclose(psi.right_inverse(psi(v.detach()[400:600])), v.detach()[400:600])


def by_hand(
    v: dict[str, Tensor], one: nn.Module, a: float, b: float, decay: float, move: Callable[[str, Tensor], Tensor]
) -> dict[str, Tensor]:
    """A step in v: ``move`` is that of an optimizer without decay, (name, gradient) -> what is added, for a gradient
    that has (decay / 2) * sum of w^2 in it, with respect to v."""
    inputs, targets = batch()
    leaves = {name: value.clone().requires_grad_() for name, value in v.items()}
    weights = {name: a * torch.atan(value / b) for name, value in leaves.items()}
    loss = F.cross_entropy(torch.func.functional_call(one, weights, (inputs,)), targets)
    loss = loss + decay / 2 * sum((w**2).sum() for w in weights.values())
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return {name: v[name] + move(name, grad) for name, grad in zip(leaves, grads, strict=True)}


def weights_of(one: nn.Module) -> dict[str, Tensor]:
    return {f"{n}.weight": m.weight.detach().clone() for n, m in one.named_modules() if n in ("0", "3", "5")}  # type: ignore[operator, union-attr]


def originals(one: nn.Module) -> dict[str, Tensor]:
    end = ".parametrizations.weight.original"
    return {n.replace(end, ".weight"): p.detach().clone() for n, p in one.named_parameters() if n.endswith(end)}


def test_decay_of_fixed_weights_is_a_penalty_on_them() -> None:
    """With SGD: three steps against the loss with the penalty in it, and against momentum written out."""
    one = network()
    companded = Companded(one, 0.6, 0.5)
    optimizer = torch.optim.SGD(one.parameters(), 0.1, momentum=0.9, weight_decay=0.05)
    moving: dict[str, Tensor] = {}

    def move(name: str, grad: Tensor) -> Tensor:
        moving[name] = 0.9 * moving[name] + grad if name in moving else grad
        return -0.1 * moving[name]

    for _ in range(3):
        expected = by_hand(originals(one), _plain(one), 0.6, 0.5, 0.05, move)
        step(one, companded, optimizer)
        found = originals(one)
        assert all(torch.allclose(found[name], value, atol=1e-6) for name, value in expected.items())


def test_adam_steps_by_the_raw_gradient_times_the_slope() -> None:
    """The first step of Adam is lr * sign of the gradient: of dL / dw, and then dw / dv times as long."""
    one = network()
    companded = Companded(one, 0.6, 0.5)
    optimizer = torch.optim.Adam(one.parameters(), 0.01, eps=1e-12)
    before = originals(one)
    signs = by_hand(before, _plain(one), 0.6, 0.5, 0.0, lambda name, grad: grad.sign())
    step(one, companded, optimizer)
    found = originals(one)
    for name, v in before.items():
        slope = 0.6 / (0.5 * (1 + v**2 / 0.5**2))
        assert torch.allclose(found[name], v - 0.01 * slope * (signs[name] - v), atol=1e-5)


@pytest.mark.parametrize("learn", LEARNS)
def test_adamw_decays_weights_or_what_is_trained(learn: Any) -> None:
    """The same step with decay and without: they differ by the decay alone."""
    moved = []
    for decay in (0.0, 0.5):
        one = network()
        companded = Companded(one, 0.6, 0.5, learn)
        optimizer = torch.optim.AdamW(one.parameters(), 0.01, weight_decay=decay)
        before = originals(one)
        step(one, companded, optimizer)
        moved.append(originals(one))
    for name, v in before.items():
        w, slope = 0.6 * torch.atan(v / 0.5), 0.6 / (0.5 * (1 + v**2 / 0.5**2))
        expected = w * slope if learn == "none" else v
        assert torch.allclose(moved[0][name] - moved[1][name], 0.01 * 0.5 * expected, atol=1e-6)


@pytest.mark.parametrize(("learn", "count"), [("network", 2), ("layer", 6)])
def test_a_and_b_are_learnt_without_decay_and_stay_positive(learn: Any, count: int) -> None:
    one = network()
    companded = Companded(one, learn=learn)
    assert set(companded.pairs().values()) == {(0.5, 1.0)}
    scalars = [p for p in one.parameters() if p.dim() == 0]
    assert len(scalars) == count
    from dnal.train.optimizers import sgd

    optimizer = sgd(one, 0.5, weight_decay=0.3)
    assert all(
        group["weight_decay"] == 0 for group in optimizer.param_groups if any(p is scalars[0] for p in group["params"])
    )
    for _ in range(30):
        step(one, companded, optimizer)
    assert all(a > 0 and b > 0 for a, b in companded.pairs().values())
    assert len(set(companded.pairs().values())) == (1 if learn == "network" else 3)
    assert companded.pairs()["0"] != (0.5, 1.0)


def test_weights_that_do_not_fit_are_refused_or_fitted() -> None:
    one = network()
    with torch.no_grad():
        one[5].weight[0, 0] = 2.0
    with pytest.raises(UserError, match=r"a weight of '5' is 2, and the weight compander with a=0.7 has none of 1.1"):
        Companded(one)
    inputs, _ = batch()
    before = one(inputs)
    companded = Companded(one, learn="layer")
    assert torch.allclose(one(inputs), before, atol=1e-4)
    assert companded.pairs()["5"][0] > 2 / (math.pi / 2)
    assert companded.pairs()["0"] == (0.5, 1.0)


def test_shared_and_frozen_weights_stay_and_a_no_op_is_told() -> None:
    one = nn.ModuleList([nn.Embedding(4, 3), nn.Linear(3, 4), nn.Linear(3, 4)])
    one[1].weight = one[0].weight
    one[2].weight.requires_grad_(False)
    with pytest.warns(UserWarning, match="changes nothing"):
        Companded(one)
    assert one[1].weight is one[0].weight


def test_other_optimizers_are_refused() -> None:
    one = network()
    companded = Companded(one)
    with pytest.raises(UserError, match="no rule for RMSprop"):
        step(one, companded, torch.optim.RMSprop(one.parameters(), 0.1))


@pytest.mark.parametrize("others", [(), ("ema:decay=0.5",), ("swa:start=0.2",), ("clipping:norm=0.1", "mixup")])
@pytest.mark.parametrize("first", [True, False])
def test_in_a_phase_beside_others_in_any_order(others: tuple[str, ...], first: bool) -> None:
    own = WeightCompander(a=0.5, b=0.5)
    names = [TECHNIQUES.read(other) for other in others]
    one = network()
    around = Context(Fabric(accelerator="cpu", devices=1), [batch()] * 3, F.cross_entropy)
    techniques = tuple([own, *names] if first else [*names, own])
    run_phase(Phase("base", 2, 0.5, techniques=techniques), one, around)
    assert list(one.state_dict()) == list(network().state_dict())
    assert all(float(w.abs().max()) < 0.5 * math.pi / 2 for w in weights_of(one).values())
    assert not torch.equal(one[0].weight, network()[0].weight)


def test_a_job_keeps_its_budget_and_small_weights() -> None:
    """Through all phases, each with what the last one left; an ordinary network leaves."""
    largest = []
    for techniques in ([], ["weight-compander:a=0.4,b=0.5"]):
        data = dnal.data.loaders(dnal.data.load("digits", limit_train=256), 32)
        torch.manual_seed(0)
        one = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
        learned = dnal.learn(
            one, data.train, data.val, budget="macs<=40%", techniques=techniques, epochs=(3, 1, 2), lr=0.2
        )
        assert learned.figures.compact.macs <= 0.4 * learned.figures.base.macs
        layers = [module for module in learned.network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        assert all(type(layer) in (nn.Conv2d, nn.Linear) for layer in layers)
        largest.append(max(float(layer.weight.detach().abs().max()) for layer in layers))
    assert largest[1] < 0.4 * math.pi / 2 < largest[0]


def _plain(one: nn.Module) -> nn.Module:
    """A network without the compander, for :func:`by_hand`, which brings the weights."""
    plain = network()
    own = one.state_dict()
    plain.load_state_dict({name: own.get(name, value) for name, value in plain.state_dict().items()})
    return plain


@pytest.mark.parametrize("wrong", [{"a": 0.0}, {"a": -1.0}, {"b": 0.0}, {"b": -1.0}, {"learn": "some"}])
def test_numbers_that_make_no_compander(wrong: dict[str, Any]) -> None:
    net = network()
    with pytest.raises(UserError, match=r"is above 0, not|is none, network, layer, not 'some'"):
        Companded(net, **wrong)
    assert not hasattr(net[0], "parametrizations")


def test_a_second_fold_changes_nothing() -> None:
    net = network()
    companded = Companded(net)
    companded.fold()
    held = [parameter.clone() for parameter in net.parameters()]
    companded.fold()
    assert all(torch.equal(one, other) for one, other in zip(held, net.parameters(), strict=True))


def test_a_retraining_begins_from_weights_of_any_size() -> None:
    net = network()
    with torch.no_grad():
        net[5].weight[0, 0] = 3.0
    x, y = batch()
    context = Context(Fabric(accelerator="cpu", devices=1), [(x, y)], F.cross_entropy)
    with pytest.raises(UserError, match=r"a weight of '5' is 3, and the weight compander with a=0.7"):
        run_phase(Phase("base", 1, 1e-12, techniques=(WeightCompander(),)), copy.deepcopy(net), context)
    before = net(x).detach()
    with pytest.warns(UserWarning, match=r"a weight of '5' is 3, .* it is 2.01 for this layer"):
        companded = Companded(net, raises=True)
    assert companded.pairs()["0"] == (0.7, 0.7)
    assert torch.allclose(net(x), before, atol=1e-5)
    companded.fold()
    with pytest.warns(UserWarning, match="it is 2.01 for this layer"):
        run_phase(Phase("retrain", 1, 1e-12, techniques=(WeightCompander(),)), net, context)
    assert float(net[5].weight.detach()[0, 0]) == pytest.approx(3, abs=1e-3)
