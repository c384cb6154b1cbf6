"""Rounds of masking and training: what they start from, what they hold, and that they go on after a kill."""

from __future__ import annotations

import functools
import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import dnal
from dnal.changes import Masks
from dnal.methods.sparsity import SPARSIFIERS, sparsifier
from dnal.train.phase import Phase
from dnal.train.resume.checkpoint import Checkpoints
from killer import Killed, Killer


def network() -> nn.Module:
    torch.manual_seed(0)
    return dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))


def job(method: str, *, own: nn.Module | None = None, **options: Any) -> dnal.Learned:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=100), 48)
    settings = {"epochs": (1, 2, 1), **options}
    return dnal.learn(own or network(), data.train, data.val, data.val, method=sparsifier(method), **settings)


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("reset", ["init", "early"])
def test_tickets_start_from_the_weights_of_the_start(reset: str) -> None:
    """With no epoch of training after the masks, what is left is exactly the masked start."""
    learned = job(f"magnitude:rounds=1,keep=30%,reset={reset},early=0.5", epochs=(2, 0, 0))
    assert isinstance(learned.change, Masks)
    start = network()
    if reset == "early":  # the same base, whose whole schedule is known, is stopped half way
        kept: dict[str, torch.Tensor] = {}

        class Half(dnal.Technique):
            phases = ("base",)

            def after_step(self, step: Any) -> None:
                if step.progress == 0.5:
                    kept.update(state(step.network))

        job("magnitude:rounds=1,keep=30%,reset=none", epochs=(2, 0, 0), techniques=[Half()])
        start.load_state_dict(kept)
    expected = Masks(learned.change.masks, learned.change.shapes, learned.change.architecture).apply(start)
    found = learned.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.state_dict().items())
    assert not torch.equal(learned.network.features[0].weight, network().features[0].weight) or reset == "init"


def test_without_a_reset_the_trained_weights_go_on() -> None:
    base = network()
    learned = job("magnitude:rounds=1,keep=30%,reset=none", own=base, epochs=(2, 0, 0))
    expected = learned.change.apply(base)
    found = learned.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.state_dict().items())


def decaying(module: nn.Module, lr: float) -> torch.optim.Optimizer:
    return torch.optim.Adam(module.parameters(), lr=lr, weight_decay=0.1)


@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("optimizer", ["sgd", decaying])
def test_masks_stay_zero_through_momentum_and_weight_decay(name: str, optimizer: Any) -> None:
    learned = job(f"{name}:keep=10%", optimizer=optimizer, lr=0.01)
    change = learned.change
    assert isinstance(change, Masks)
    for tensor, mask in change._left().items():
        weight = learned.network.get_parameter(tensor)
        assert not bool((weight[~mask] != 0).any())
        assert bool((weight[mask] != 0).any()) or not bool(mask.any())
    total = sum(mask.numel() for mask in change.masks.values())
    assert sum(int(mask.sum()) for mask in change.masks.values()) == pytest.approx(0.1 * total, abs=len(change.masks))


def test_rounds_keep_ever_less_and_say_how_much() -> None:
    learned = job("magnitude:rounds=3,keep=8%")
    kept = [record.get("kept", 1.0) for record in learned.history]
    assert kept[:3] == [1.0, pytest.approx(0.4309, abs=1e-4), pytest.approx(0.1857, abs=1e-4)]
    assert kept[3] == pytest.approx(learned.change.kept, abs=1e-6)
    assert kept[3] <= 0.08 + 1e-5


@functools.cache
def whole(method: str) -> dnal.Learned:
    return job(method, epochs=(1, 2, 1))


@pytest.mark.parametrize(
    ("reset", "at"), [("early", 4), *(pytest.param(*each, marks=pytest.mark.slow) for each in
                                      (("early", 0), ("none", 7), ("early", 10)))],
)  # fmt: skip
def test_killed_anywhere_rounds_go_on_to_the_same_bytes(reset: str, at: int, tmp_path: Path) -> None:
    method, options = f"random:rounds=3,keep=8%,reset={reset}", {"epochs": (1, 2, 1)}  # 3 steps an epoch
    with pytest.raises(Killed):
        job(method, checkpoints=Checkpoints(tmp_path, 1), listener=Killer(at), **options)
    other = network()
    with torch.no_grad():  # that what is reset to is kept, not taken from the network that is given
        for parameter in other.parameters():
            parameter.add_(1.0)
    again = job(method, own=other if at else None, checkpoints=Checkpoints(tmp_path, 1), **options)
    found = again.network.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in whole(method).network.state_dict().items())
    assert [r["loss"] for r in again.history] == [r["loss"] for r in whole(method).history]


def test_epochs_too_few_for_the_rounds_are_refused_before_training() -> None:
    with pytest.raises(dnal.UserError, match="4 or more for the second"):
        job("magnitude:rounds=5", epochs=(1, 3, 1), listener=Killer(0))


@pytest.mark.parametrize("reset", ["init", "early"])
def test_a_base_that_comes_trained_has_no_start(reset: str) -> None:
    with pytest.raises(dnal.UserError, match="of its start nothing is known"):
        job(f"magnitude:reset={reset}", base_is_trained=True, listener=Killer(0))
    job("magnitude:rounds=1", base_is_trained=True, epochs=(0, 0, 1))


def test_an_early_step_of_weights_held_in_another_way_is_refused() -> None:
    with pytest.raises(dnal.UserError, match="weight-compander"):
        job("magnitude", techniques=["weight-compander"], listener=Killer(0))
    learned = job("magnitude:reset=init", techniques=["weight-compander"])
    for tensor, mask in learned.change._left().items():  # type: ignore[attr-defined]
        assert not bool((learned.network.get_parameter(tensor)[~mask] != 0).any())


def test_the_parts_of_a_phase_are_all_of_it() -> None:
    phase = Phase("architecture", 7, 0.1)
    parts = [phase.share(number, 3) for number in (1, 2, 3)]
    assert sum(part.epochs for part in parts) == 7
    assert all(part.alone for part in parts)
    whole = Phase("architecture", 7, 0.1, part=(0.2, 0.9))
    shares = [whole.share(number, 3).part for number in (1, 2, 3)]
    assert math.isclose(shares[0][0], 0.2)
    assert math.isclose(shares[-1][1], 0.9)
    assert all(math.isclose(a[1], b[0]) for a, b in itertools.pairwise(shares))


def test_names_and_options_are_read_as_they_are_typed() -> None:
    assert sparsifier("magnitude", keep="10%", rounds=5).keep == 0.1
    assert sparsifier("magnitude:keep=0.3", rounds="4") == sparsifier("magnitude-masks", keep=0.3, rounds=4)
    for options in ({}, {"keep": 0.2}):
        with pytest.raises(dnal.UserError, match="keeps channels, not weights"):
            sparsifier("uniform", **options)
    with pytest.raises(dnal.UserError, match="did you mean 'magnitude'"):
        sparsifier("magnitud")
    with pytest.raises(dnal.UserError, match="keep is more than 0 and less than 1"):
        sparsifier("magnitude", keep="110%")
    with pytest.raises(dnal.UserError, match="no option 'rounds'"):
        sparsifier("gradual", rounds=3)


def test_a_share_that_a_pattern_cannot_leave_is_told_before_training() -> None:
    network = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    space = dnal.Space.of(network, torch.randn(2, 8))
    with pytest.warns(UserWarning, match="keep=80% is not reached"):
        sparsifier("magnitude", keep="80%", pattern="2:4").check(network, space)
