"""Activating while pruning: exact budgets, the sign of its lever on fixed weights, and the meter of dead neurons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import dnal
from dnal.changes.masks import apply_masks
from dnal.methods.sparsity.dead_neurons import dead_neurons, statically_dead
from dnal.methods.sparsity.masks import activated, all_of, kept, largest
from dnal.methods.sparsity.rounds import LayerMagnitudeMasks, MagnitudeMasks, Pruning, RandomMasks


def mlp(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 25), nn.ReLU(), nn.Linear(25, 5))


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters() if p.dim() > 1}


def count(masks: Any) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


@pytest.mark.parametrize("kind", [MagnitudeMasks, LayerMagnitudeMasks, RandomMasks])
@pytest.mark.parametrize("sign", ["negative", "positive"])
def test_it_removes_exactly_as_many_and_the_negative_ones_that_moved_least(kind: Any, sign: str) -> None:
    network, start = mlp(), weights(mlp(1))
    within = largest(weights(network), 0.6)

    def pruning() -> Pruning:
        return Pruning(weights(network), 0.4, within, torch.Generator().manual_seed(2), start)

    alone = kind().pruned(pruning())
    both = kind(activating=0.25, sign=sign).pruned(pruning())
    assert count(both) == count(alone)
    assert not any(bool((both[name] & ~within[name]).any()) for name in both)
    assert any(not torch.equal(both[name], alone[name]) for name in both)
    if kind is not RandomMasks:  # against numpy: what a smaller step of the method leaves, without those
        share = count(alone) + int(0.25 * (count(within) - count(alone)))
        total = sum(m.numel() for m in within.values())
        less = kind().chosen(pruning()._replace(keep=share / total))
        flat = {n: torch.cat([t[k].flatten() for k in less]).numpy() for n, t in
                (("w", weights(network)), ("w0", start), ("m", less), ("both", both))}  # fmt: skip
        signed = flat["m"] & ((flat["w"] < 0) if sign == "negative" else (flat["w"] > 0))
        moved = np.where(signed, np.abs(flat["w"] - flat["w0"]), np.inf)
        gone = np.argsort(moved, kind="stable")[: count(less) - count(alone)]
        assert set(np.flatnonzero(flat["m"] & ~flat["both"])) == set(gone)


@pytest.mark.parametrize("kind", [MagnitudeMasks, LayerMagnitudeMasks, RandomMasks])
def test_a_pattern_of_two_in_four_is_kept_by_every_method_of_rounds(kind: Any) -> None:
    own = weights(mlp())  # 20, 30 and 25 inputs
    masks = all_of(own)
    for keep in (0.5, 0.3):
        masks = kind(pattern="2:4").pruned(Pruning(own, keep, masks, torch.Generator().manual_seed(0)))
        fours = masks["0.weight"].reshape(-1, 4).sum(1)
        assert int(fours.max()) == 2
        assert kept(masks) == pytest.approx(keep, abs=0.002) or kind is LayerMagnitudeMasks
    assert int(masks["2.weight"][:, :28].reshape(-1, 4).sum(1).max()) > 2, "30 inputs are no multiple of four"


def test_where_negative_weights_run_out_others_leave() -> None:
    own = {"a": torch.tensor([[3.0, 1.0, -2.0, 4.0]])}
    assert activated(own, None, all_of(own), 3)["a"].tolist() == [[False, False, False, True]]


def test_on_fixed_weights_fewer_units_are_dead_without_negative_weights_and_more_without_positive_ones() -> None:
    """The lever, whose sign is guaranteed unit by unit of the first layer, where inputs are not negative."""
    first, x = nn.Sequential(nn.Linear(20, 40), nn.ReLU()), torch.rand(200, 20)
    own = weights(first)
    rates = {}
    before = first(x) == 0
    for sign in ("negative", "positive"):
        network = nn.Sequential(nn.Linear(20, 40), nn.ReLU())
        network.load_state_dict(first.state_dict())
        apply_masks(network, activated(own, None, all_of(own), 150, sign))
        after = network(x) == 0
        rates[sign] = float(after.float().mean())
        assert bool((after <= before).all()) if sign == "negative" else bool((after >= before).all())
    assert rates["negative"] < float(before.float().mean()) < rates["positive"]


@pytest.mark.parametrize("reduction", ["unit", "channel"])
def test_dead_neurons_are_those_counted_by_hand(reduction: Any) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 6, 3, bias=False), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu_(self.b(F.relu(self.a(x)))).mean((2, 3)))

    torch.manual_seed(0)
    network = Net()
    space = dnal.Space.of(network, torch.randn(2, 1, 8, 8))
    masks = all_of(weights(network))
    masks["a.weight"][1] = False  # nothing makes this one,
    masks["b.weight"][:, 2] = False  # nothing reads this one,
    masks["c.weight"][:, 5] = False  # nor this one
    apply_masks(network, masks)
    assert int(statically_dead(space, masks).sum()) == 3
    batches = [(torch.randn(n, 1, 8, 8), torch.zeros(n)) for n in (5, 2)]
    found = dead_neurons(network, space, batches, masks, reduction=reduction)
    x = torch.cat([inputs for inputs, _ in batches])
    with torch.no_grad():
        hidden = [F.relu(network.a(x))]
        hidden.append(F.relu(network.b(hidden[0])))
    static = [[1, 2], [5]]
    units = dead = zero = 0
    for values, gone in zip(hidden, static, strict=True):
        off = values == 0 if reduction == "unit" else (values == 0).flatten(2).all(2)
        alive = [c for c in range(off.size(1)) if c not in gone]
        units += off[0].numel()
        dead += len(gone) * off[0, 0].numel()
        zero += int(off[:, alive].sum())
    assert found.static == dead / units
    assert found.dynamic() == pytest.approx(zero / 7 / units)
    assert found.dynamic("alive") == pytest.approx(zero / 7 / (units - dead))
    assert network.training
    plain = dead_neurons(network, space, batches)
    assert plain.static == 0
    with pytest.raises(dnal.UserError, match="no ReLU"):
        dead_neurons(nn.Linear(2, 2), dnal.Space.of(nn.Linear(2, 2), torch.rand(2, 2)), batches)


@pytest.mark.parametrize("reset", ["init", "none"])
def test_rounds_with_it_go_through_and_keep_what_was_asked(reset: str) -> None:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 48)
    torch.manual_seed(0)
    network = dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))
    method = f"magnitude:rounds=2,keep=20%,activating=0.1,reset={reset}"
    learned = dnal.sparsify(network, *data, method=method, epochs=(1, 1, 1))
    assert kept(learned.change.masks) == pytest.approx(0.2, abs=1e-5)  # type: ignore[attr-defined]
