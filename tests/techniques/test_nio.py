"""GradCosine and NIO: what is exact of them, and the control."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.techniques.nio import LEAST, agreement, chunked, gradcosine, learn_scales, scaled_as_one, scaled_tensors


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(96, 8),
        nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def batch(count: int = 16, seed: int = 1) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 6, 6, generator=draw), torch.randint(3, (count,), generator=draw)


def by_hand(net: nn.Module, x: Tensor, y: Tensor, rows: list[slice]) -> tuple[float, float]:
    """Loops over chunks and pairs; batch norm on the chunk's statistics."""
    net = copy.deepcopy(net).eval()
    net[1].train()
    gradients = []
    for each in rows:
        net.zero_grad()
        F.cross_entropy(net(x[each]), y[each]).backward()
        gradients.append(torch.cat([net.get_parameter(name).grad.flatten() for name in scaled_tensors(net)]))
    pairs = [float(F.cosine_similarity(a, b, dim=0)) for a, b in itertools.combinations(gradients, 2)]
    return sum(pairs) / len(pairs), sum(float(g.norm()) for g in gradients) / len(gradients)


def test_gradcosine_is_the_loop_over_pairs_and_changes_nothing() -> None:
    net, (x, y) = network(), batch()
    before, modes = copy.deepcopy(net.state_dict()), [module.training for module in net.modules()]
    found = gradcosine(net, (x, y), chunks=4, overlap=0.25)
    # l = 4, r = .25: 5 examples, then from 3 l and (1 + r) l of each
    rows = [slice(0, 5), slice(3, 10), slice(6, 15), slice(9, 16)]
    assert chunked(16, 4, 0.25) == rows
    cosine, norm = by_hand(net, x, y, rows)
    assert float(found.cosine) == pytest.approx(cosine, abs=1e-5)
    assert float(found.norm) == pytest.approx(norm, rel=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "buffers too"
    assert [module.training for module in net.modules()] == modes
    assert all(parameter.grad is None for parameter in net.parameters())


def test_equal_chunks_agree_wholly_and_opposite_ones_not_at_all() -> None:
    net, (x, y) = network(), batch(4)
    whole = (x.repeat(4, 1, 1, 1), y.repeat(4))
    assert float(gradcosine(net, whole, chunks=4, overlap=0).cosine) == pytest.approx(1, abs=1e-5)
    gradient = torch.randn(7)
    assert float(agreement([gradient, -gradient]).cosine) == pytest.approx(-1)
    for seed in range(5):
        assert -1 <= float(gradcosine(net, batch(seed=seed)).cosine) <= 1


def test_scales_change_lengths_and_no_directions() -> None:
    net = network()
    before = copy.deepcopy(net)
    alphas = learn_scales(net, [batch(seed=seed) for seed in range(20)], 20, rate=0.05)
    names = {name for name, tensor in scaled_tensors(before).items() if bool(tensor.any())}
    assert set(alphas) == names
    assert "1.weight" not in names, "a batch norm has no scale"
    for name, was in before.named_parameters():
        now = net.get_parameter(name)
        assert torch.allclose(now, alphas.get(name, 1.0) * was, rtol=1e-5, atol=1e-7)
    assert max(abs(alpha - 1) for alpha in alphas.values()) > 0.1
    assert all(torch.equal(net[1].state_dict()[key], value) for key, value in before[1].state_dict().items())


@pytest.mark.parametrize("large", [False, True])
def test_the_norm_is_driven_towards_the_bound_from_both_sides(large: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(64, 8, generator=draw)
    given = (x, x[:, :3].argmax(1))
    if large:
        with torch.no_grad():
            for parameter in net.parameters():
                parameter *= 6
    before = gradcosine(net, given)
    learn_scales(net, itertools.repeat(given), 60, gamma=2.0, rate=0.05)
    after = gradcosine(net, given)
    assert abs(float(after.norm) - 2) < abs(float(before.norm) - 2)
    assert 1 < float(after.norm) < 3
    if not large:
        assert float(after.cosine) > float(before.cosine)


def test_one_factor_on_all_weights_reaches_the_norm() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 8), nn.ReLU(), nn.Linear(8, 3))
    before, given = copy.deepcopy(net), batch(64)
    factor = scaled_as_one(net, given, 3.0)
    assert float(gradcosine(net, given).norm) == pytest.approx(3, rel=0.05)
    for name, was in before.named_parameters():
        expected = factor * was if name in scaled_tensors(before) and was.dim() > 1 else was
        assert torch.allclose(net.get_parameter(name), expected)


def test_a_scale_has_a_floor() -> None:
    net = nn.Linear(4, 2)
    with torch.no_grad():
        net.weight *= 1e4
    alphas = learn_scales(
        net, itertools.repeat((100 * torch.randn(8, 4), torch.randint(2, (8,)))), 80, gamma=1e-9, rate=0.1
    )
    assert min(alphas.values()) >= 0
    assert alphas["weight"] >= LEAST - 1e-9


def test_attention_and_named_inputs_are_read_too() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 3)

        def forward(self, tokens: Tensor) -> dict[str, Tensor]:
            q, k, v = self.qkv(tokens).chunk(3, -1)
            return {"logits": self.head(F.scaled_dot_product_attention(q, k, v).mean(1))}

    given: Any = {"tokens": torch.randn(8, 5, 8), "labels": torch.randint(3, (8,))}
    assert len(learn_scales(Attends(), itertools.repeat(given), 3)) == 4


def test_what_cannot_be_scaled_is_one_sentence() -> None:
    with pytest.raises(UserError, match="nothing to scale"):
        gradcosine(nn.BatchNorm1d(3), (torch.randn(8, 3), torch.randint(3, (8,))))
    with pytest.raises(UserError, match="enlarge the batch"):
        gradcosine(nn.Linear(3, 2), (torch.randn(3, 3), torch.randint(2, (3,))))


@pytest.mark.parametrize("wrong", ["zeros", "infinite"])
def test_starts_of_which_no_scales_can_be_learnt(wrong: str) -> None:
    x, y = batch()
    net = network()
    if wrong == "zeros":
        for parameter in net.parameters():
            torch.nn.init.zeros_(parameter)
    else:
        x = x * math.inf
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UserError, match="all weights of the network are 0" if wrong == "zeros" else "are no numbers"):
        learn_scales(net, [(x, y)] * 2, 2)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
