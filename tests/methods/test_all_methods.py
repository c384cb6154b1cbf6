"""What must hold for every method that is registered, as it is run by `learn`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dnal
from dnal.changes import Change
from dnal.methods import METHODS
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.resume.tree import packed
from killer import Killed, Killer

EPOCHS = (2, 2, 2)
SHARE = 0.3
NAMES = METHODS.names()
GROWING = [name for name in NAMES if METHODS.of(name).grows]
"""Those that keep budgets above what the network costs."""
REMOVING = [name for name in NAMES if METHODS.of(name).takes_budget and name not in GROWING]
"""Those that keep budgets, by removing channels."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))


def job(name: str, **options: Any) -> dnal.Learned:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=200), 48)
    budget = f"macs<={100 * SHARE:g}%" if name in REMOVING else "macs<=150%" if name in GROWING else None
    return dnal.learn(network(), data.train, data.val, method=name, budget=budget, epochs=EPOCHS, **options)


@functools.cache
def whole(name: str) -> dnal.Learned:
    return job(name)


@pytest.mark.parametrize("name", REMOVING)
def test_the_budget_holds_counted_on_the_compact_network(name: str) -> None:
    learned = whole(name)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        learned.network(torch.randn(1, 1, 8, 8))
    macs = counter.get_total_flops() // 2
    assert 0.97 * SHARE * learned.figures.base.macs <= macs <= SHARE * learned.figures.base.macs


@pytest.mark.parametrize("name", [name for name in NAMES if name not in [*REMOVING, *GROWING]])
def test_a_method_that_takes_no_budget_says_so_before_anything_is_trained(name: str) -> None:
    loader = dnal.data.loaders(dnal.data.load("digits", limit_train=200), 48).train
    with pytest.raises(dnal.UserError, match=f"'{name}' takes no budget, so macs<=30% cannot be kept; leave it away"):
        dnal.learn(network(), loader, loader, method=name, budget="macs<=30%", listener=Killer(0))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_known_by_its_name(name: str) -> None:
    assert whole(name).method == name
    assert whole(name).settings["method"]["name"] == name


@pytest.mark.parametrize("name", REMOVING)
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


CONTROLS = ("gradmax", "random-neurons", "layer-magnitude-masks", "random-masks")
"""Methods that go on as another one does, whose killing is among the fast tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in CONTROLS else name for name in NAMES]
)
def test_killed_it_goes_on_to_the_same_network(name: str, tmp_path: Path) -> None:
    for at in (11, 9):  # in the second phase, and from the step 9 or later that it kept in the third
        with pytest.raises(Killed):
            job(name, checkpoints=Checkpoints(tmp_path, 3), listener=Killer(at))
    learned = job(name, checkpoints=tmp_path)
    assert said(learned.change) == said(whole(name).change)
    assert said(learned.network.state_dict()) == said(whole(name).network.state_dict())


def test_no_two_methods_are_one() -> None:
    networks = {name: said(whole(name).network.state_dict()) for name in GROWING}  # to what widths may be the same
    assert len({said(whole(name).change) + networks.get(name, b"") for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_none_changes_nothing(name: str) -> None:
    changed = whole(name).change.apply(network())
    assert said(changed.state_dict()) != said(network().state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_the_tensors_are_as_large_as_the_change_says(name: str) -> None:
    change, tensors = whole(name).change, whole(name).network.state_dict()
    assert set(change.shapes) == set(network().state_dict())
    for tensor, shape in change.shapes.items():
        if shape:
            assert change.left(tensor) == (tuple(tensors[tensor].shape) if tensor in tensors else (0,) * len(shape))
    times = change.times(whole(name).space)
    counted = whole(name).space.costs["macs"](times)
    assert float(counted) == whole(name).figures.compact.macs, "a channel that is there twice costs twice as much"


@pytest.mark.parametrize("name", ["dnal", "uniform"])
def test_fresh_weights_have_nothing_of_the_trained_ones(name: str) -> None:
    learned = job(name, reinitialize=True)
    assert learned.architecture == whole(name).architecture
    first = next(record for record in learned.history if record["phase"] == "retrain")
    trained = next(record for record in whole(name).history if record["phase"] == "retrain")
    assert first["loss"] > trained["loss"]
    assert learned.settings["reinitialize"] is True


def said(tree: Any) -> bytes:
    """All values of a change or of a state, as bytes."""
    tensors, document = packed(tree.document() if isinstance(tree, Change) else dict(tree))
    return save({name: tensor.clone() for name, tensor in tensors.items()}, {"": json.dumps(document)})


def test_unknown_methods_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(dnal.UserError, match="did you mean 'magnitude'"):
        job("magnitud")
    with pytest.raises(dnal.UserError, match="the method 'uniform' has no option 'tau'"):
        job("uniform:tau=1")
