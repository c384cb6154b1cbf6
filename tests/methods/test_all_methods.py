"""What must hold for every method that is registered, as it is run by `learn`."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dnal
from dnal.methods import METHODS
from dnal.train.resume.checkpoint import Checkpoints
from killer import Killed, Killer

EPOCHS = (2, 2, 2)
SHARE = 0.3
NAMES = METHODS.names()


def network() -> nn.Module:
    torch.manual_seed(0)
    return dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))


def job(name: str, **options: Any) -> dnal.Learned:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=200), 48)
    return dnal.learn(
        network(), data.train, data.val, method=name, budget=f"macs<={100 * SHARE:g}%", epochs=EPOCHS, **options
    )


@functools.cache
def whole(name: str) -> dnal.Learned:
    return job(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_budget_holds_counted_on_the_compact_network(name: str) -> None:
    learned = whole(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        learned.network(torch.randn(1, 1, 8, 8))
    macs = counter.get_total_flops() // 2
    assert 0.97 * SHARE * learned.figures.base.macs <= macs <= SHARE * learned.figures.base.macs
    assert learned.method == name
    assert learned.settings["method"]["name"] == name


@pytest.mark.parametrize("name", NAMES)
def test_what_it_chose_computes_what_the_gated_network_does(name: str) -> None:
    architecture, x = whole(name).architecture, torch.randn(4, 1, 8, 8)
    base = network().eval()
    with torch.no_grad():
        expected, found = dnal.gated(base, architecture)(x), dnal.compact(base, architecture)(x)
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_every_method_sees_equally_many_images(name: str) -> None:
    learned = whole(name)
    assert len(learned.history) == sum(EPOCHS)
    phases = {record["phase"] for record in learned.history}
    assert ("architecture" in phases) == METHODS.of(name).trains


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at", [11, 18])
def test_killed_it_goes_on_to_the_same_network(name: str, at: int, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        job(name, checkpoints=Checkpoints(tmp_path, 3), listener=Killer(at))
    learned = job(name, checkpoints=tmp_path)
    assert learned.architecture == whole(name).architecture
    for tensor, other in zip(
        learned.network.state_dict().values(), whole(name).network.state_dict().values(), strict=True
    ):
        assert torch.equal(tensor, other)


def test_no_two_methods_are_one() -> None:
    chosen = {name: whole(name).architecture.open for name in NAMES}
    for name in NAMES:
        for other in NAMES:
            assert name == other or not torch.equal(chosen[name], chosen[other]), (name, other)


@pytest.mark.parametrize("name", NAMES)
def test_none_changes_nothing(name: str) -> None:
    assert not bool(whole(name).architecture.open.all())


@pytest.mark.parametrize("name", ["dnal", "uniform"])
def test_fresh_weights_have_nothing_of_the_trained_ones(name: str) -> None:
    learned = job(name, reinitialize=True)
    assert learned.architecture == whole(name).architecture
    first = next(record for record in learned.history if record["phase"] == "retrain")
    trained = next(record for record in whole(name).history if record["phase"] == "retrain")
    assert first["loss"] > trained["loss"]
    assert learned.settings["reinitialize"] is True


def test_unknown_methods_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(dnal.UserError, match="did you mean 'magnitude'"):
        job("magnitud")
    with pytest.raises(dnal.UserError, match="the method 'uniform' has no option 'tau'"):
        job("uniform:tau=1")
