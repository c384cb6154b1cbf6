"""WideNet: its parameters in a formula, the balance of its experts, their capacity, and that it becomes smaller."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dnal
from dnal.analyses.routing import routing_of
from dnal.models.widenet.encoder import Encoder
from dnal.models.widenet.images import WideNet
from dnal.models.widenet.mixture import Mixture, balance_loss, capacity_of, picked, within
from dnal.models.widenet.text import TextWideNet
from dnal.train.outputs import task_loss
from independent import assert_exact, coin_flips, randomise
from killer import Killed, Killer
from learned import check_same

SMALL: dict[str, Any] = {"width": 16, "layers": 3, "heads": 4, "hidden": 12}


def images(**changes: Any) -> WideNet:
    torch.manual_seed(0)
    return WideNet(**{"classes": 10, "in_channels": 1, "side": 8, "patch": 4, **SMALL, **changes})


def texts() -> TextWideNet:
    torch.manual_seed(0)
    return TextWideNet(tokens=50, length=7, classes=2, embedding=6, **SMALL)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def blocks(d: int, h: int, layers: int, experts: int, *, shared: bool = True, own_norms: bool = True) -> int:
    attention, one = 4 * (d * d + d), (d * h + h) + (h * d + d)
    router = 0 if experts == 1 else experts * d
    times = 1 if shared else layers
    return times * (attention + router + experts * one) + 4 * d * (layers if own_norms else 1) + 2 * d


@pytest.mark.parametrize(
    ("name", "shape", "patch", "d", "h", "layers", "classes", "printed"),
    [
        ("tiny", (1, 8, 8), 2, 64, 128, 6, 10, None),
        ("small", (3, 32, 32), 4, 192, 384, 8, 10, None),
        ("base", (3, 224, 224), 16, 768, 4096, 12, 1000, 29),
        ("large", (3, 224, 224), 16, 1024, 4096, 24, 1000, 40),
        ("huge", (3, 224, 224), 16, 1280, 5120, 32, 1000, 63),
    ],
)
def test_the_parameters_are_those_of_the_formula(
    name: str, shape: tuple[int, int, int], patch: int, d: int, h: int, layers: int, classes: int, printed: int | None
) -> None:
    with torch.device("meta"):
        found = count(dnal.models.create(f"widenet/{name}"))
    assert dnal.models.default_input(f"widenet/{name}") == shape
    front = (shape[0] * patch**2 * d + d) + d + d * (1 + (shape[1] // patch) ** 2)
    assert found == front + blocks(d, h, layers, 4) + (d * d + d) + (d * classes + classes)
    assert printed is None or found // 10**6 == printed  # millions, as in the paper's table


@pytest.mark.parametrize(
    ("experts", "shared", "own_norms"), [(1, False, True), (1, True, False), (4, True, False), (4, False, True)]
)
def test_the_parameters_of_its_controls(experts: int, shared: bool, own_norms: bool) -> None:
    encoder = Encoder(**SMALL, experts=experts, shared=shared, own_norms=own_norms)
    assert count(encoder) == blocks(16, 12, 3, experts, shared=shared, own_norms=own_norms)


def test_the_parameters_of_the_text_classifier() -> None:
    factorised = 50 * 6 + (6 * 16 + 16)
    assert count(texts()) == factorised + 7 * 16 + blocks(16, 12, 3, 4) + (16 * 16 + 16) + (16 * 2 + 2)


@pytest.mark.parametrize("experts", [2, 4, 5])
def test_the_balance_loss_is_alpha_at_equal_shares_and_alpha_times_experts_at_one(experts: int) -> None:
    n, alpha = 6 * experts, 0.03
    equal = torch.full((n, experts), 1 / experts)
    one_each = F.one_hot(torch.arange(n) % experts).bool()
    two_each = one_each | one_each.roll(1, 1)
    for routed in (one_each, two_each):
        assert float(balance_loss(equal, routed, alpha)) == pytest.approx(alpha)
    sure = F.one_hot(torch.zeros(n, dtype=torch.long), experts)
    assert float(balance_loss(sure.float(), sure.bool(), alpha)) == pytest.approx(alpha * experts)


def test_the_balance_loss_is_that_of_the_formula_and_its_share_has_no_gradient() -> None:
    torch.manual_seed(0)
    logits = torch.randn(9, 4, requires_grad=True)
    p = logits.softmax(-1)
    routed = picked(p, 2)
    loss = balance_loss(p, routed, 0.01)
    m = [sum(bool(routed[t, e]) for t in range(9)) / (2 * 9) for e in range(4)]
    expected = 0.01 * 4 * sum(m[e] * p[:, e].mean() for e in range(4))
    assert torch.allclose(loss, torch.as_tensor(expected))
    (own,) = torch.autograd.grad(loss, p, retain_graph=True)
    assert torch.allclose(own, torch.tensor([[0.01 * 4 * m[e] / 9 for e in range(4)]] * 9))


def reference(mixture: Mixture, x: Tensor, logits: Tensor, room: int | None) -> Tensor:
    """Token by token, in their order; an expert that has taken ``room`` takes no more."""
    flat, said, taken = x.flatten(0, 1), logits.flatten(0, 1), [0] * len(mixture.experts)
    rows = []
    for token, own in zip(flat, said, strict=True):
        p = own.exp() / own.exp().sum()
        row = torch.zeros_like(token)
        for e in sorted(range(len(taken)), key=lambda e: -float(p[e].detach()))[: mixture.chosen]:
            taken[e] += 1
            if room is None or taken[e] <= room:
                row = row + p[e] * mixture.experts[e](token)
        rows.append(row)
    return torch.stack(rows).view_as(x)


@pytest.mark.parametrize("factor", [0.5, 0.9, 4.0])
def test_experts_take_the_first_tokens_up_to_their_capacity(factor: float) -> None:
    torch.manual_seed(1)
    mixture = Mixture(6, 5, experts=4, chosen=2, capacity=factor).train()
    x = torch.randn(3, 7, 6)
    torch.manual_seed(2)
    found, _ = mixture(x)
    torch.manual_seed(2)
    logits = mixture.router(x)
    logits = logits + torch.randn_like(logits) / 4  # the noise of training: standard deviation 1/E
    room = int(factor * 2 * 21 / 4)
    assert torch.allclose(found, reference(mixture, x, logits, room), atol=1e-6)
    dropped = not torch.allclose(found, reference(mixture, x, logits, None), atol=1e-6)
    assert dropped == (factor < 4)


def test_the_capacity_and_who_is_within_it() -> None:
    assert [capacity_of(n, 4, 2, 1.2) for n in (20, 19, 5, 1)] == [12, 11, 3, 1]
    routed = torch.tensor([[1, 0], [1, 1], [1, 1], [0, 1]]).bool()
    assert within(routed, 2).int().tolist() == [[1, 0], [1, 1], [0, 1], [0, 0]]


def test_in_eval_mode_nothing_is_drawn_or_dropped() -> None:
    torch.manual_seed(1)
    mixture = Mixture(6, 5, capacity=0.1).eval()
    x = torch.randn(3, 7, 6)
    found, loss = mixture(x)
    assert loss is None
    assert torch.allclose(found, reference(mixture, x, mixture.router(x), None), atol=1e-6)
    assert torch.allclose(found[1:2], mixture(x[1:2])[0], atol=1e-6)


def test_gradients_reach_all_experts_the_router_and_each_norm_in_its_own_way() -> None:
    network = images().train()
    task_loss(network(torch.randn(16, 1, 8, 8)), torch.arange(16) % 10).backward()
    mixture = network.encoder.mixtures[0]
    for part in (mixture.router, *mixture.experts):
        assert all(float(p.grad.abs().sum()) > 0 for p in part.parameters())
    for norms in (network.encoder.before_attention, network.encoder.before_experts):
        own = [norm.weight.grad for norm in norms]
        assert len(own) == 3
        assert not any(torch.allclose(a, b) for a, b in ((own[0], own[1]), (own[1], own[2]), (own[0], own[2])))


def test_the_sum_of_the_balance_losses_joins_the_default_loss() -> None:
    network, x, y = images().train(), torch.randn(8, 1, 8, 8), torch.arange(8)
    losses: list[Tensor] = []
    handle = network.encoder.mixtures[0].register_forward_hook(lambda m, given, out: losses.append(out[1]))
    outputs = network(x)
    handle.remove()
    assert len(losses) == 3  # one for each block
    assert torch.allclose(outputs["aux_loss"], losses[0] + losses[1] + losses[2])
    assert torch.allclose(task_loss(outputs, y), F.cross_entropy(outputs["logits"], y) + outputs["aux_loss"])
    assert isinstance(network.eval()(x), Tensor)


def test_padding_goes_to_no_expert_and_changes_nothing() -> None:
    network = texts()
    ids, there = torch.randint(1, 50, (4, 7)), torch.ones(4, 7, dtype=torch.long)
    there[:, 5:] = 0
    other = ids.clone()
    other[:, 5:] = torch.randint(1, 50, (4, 2))
    for mode in (True, False):
        found = []
        for each in (ids, other):
            torch.manual_seed(3)
            found.append(network.train(mode)(each, there))
        if mode:
            assert torch.allclose(found[0]["aux_loss"], found[1]["aux_loss"])
            found = [one["logits"] for one in found]
        assert torch.allclose(found[0], found[1], atol=1e-6)
    assert bool(network(ids, torch.zeros_like(there)).isfinite().all())


def test_images_of_another_size_have_positions_in_between() -> None:
    network = images().eval()
    assert network(torch.randn(2, 1, 16, 12)).shape == (2, 10)
    with torch.no_grad():
        network.positions[:, 1:] = 0.7  # between equal ones lie the same
    assert torch.allclose(network._places(3, 5)[:, 1:], torch.full((1, 15, 16), 0.7))


@pytest.mark.parametrize("kind", ["images", pytest.param("texts", marks=pytest.mark.slow)])
def test_heads_and_hidden_widths_leave_exactly(kind: str) -> None:
    network = randomise(images(layers=2) if kind == "images" else texts()).eval()
    inputs: Any = torch.randn(2, 1, 8, 8)
    if kind == "texts":
        inputs = {"input_ids": torch.randint(50, (2, 7)), "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    space = dnal.Space.of(network, inputs)
    assert not space.unknown
    widths = {group.name: group.width for group in space.groups}
    assert widths["encoder.attentions.0.query.weight"] == 4
    assert [widths[f"encoder.mixtures.0.experts.{e}.0.weight"] for e in range(4)] == [12] * 4
    small = assert_exact(network, inputs, space, coin_flips(space, 1))
    assert isinstance(small.encoder.mixtures[0], Mixture)
    assert len({expert[0].out_features for expert in small.encoder.mixtures[0].experts}) > 1


def learned(**options: Any) -> dnal.Learned:
    loaders = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 32)
    return dnal.learn(
        images(layers=2), loaders.train, loaders.val, budget="macs<=60%", epochs=(1, 1, 1), optimizer="adamw", lr=0.01,
        **options,
    )  # fmt: skip


@functools.cache
def whole() -> dnal.Learned:
    return learned()


@pytest.mark.parametrize(
    "at", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(7, marks=pytest.mark.slow)]
)  # one in each phase
def test_a_job_that_is_killed_gives_the_same_small_network(at: int, tmp_path: Path) -> None:
    assert whole().figures.compact.macs <= 0.6 * whole().figures.base.macs
    with pytest.raises(Killed):
        learned(checkpoints=tmp_path, listener=Killer(at))
    check_same(learned(checkpoints=tmp_path), whole())


def test_routing_is_read_where_the_experts_are_shared() -> None:
    network = images().eval()
    x = torch.randn(5, 1, 8, 8)
    found = routing_of(network, [(x, torch.zeros(5, dtype=torch.long))])
    assert found is not None
    assert found.loads.shape == (3, 4)
    assert torch.allclose(found.loads.sum(1), torch.ones(3, dtype=torch.float64))
    assert found.changed.shape == (2,)
    # The same block three times over: nothing changes from block to block where nothing is added.
    still = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in still.encoder.named_parameters():
            if name.endswith(("out.weight", "out.bias", "3.weight", "3.bias")):
                parameter.zero_()
    same = routing_of(still, [(x, torch.zeros(5, dtype=torch.long))])
    assert same is not None
    assert same.changed.tolist() == [0.0, 0.0]
    assert routing_of(nn.Linear(4, 2), [(torch.randn(3, 4), torch.zeros(3, dtype=torch.long))]) is None
