"""What every method makes of a supernet: an architecture within the budget whose edges are whole."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import Tensor, nn

import dnal
from dnal.methods import METHODS
from dnal.methods.tas.tas import WidthSupernet
from dnal.models import create
from dnal.train.evaluate import accuracy
from dnal.train.resume.checkpointer import Checkpointer
from independent import counted_macs, difference, run
from tasks import task_of

SLOW = ("random-search", "tas", "taylor", "slimming", "uniform")
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in METHODS.names()
    if name != "paper" and METHODS.of(name).takes_budget and not METHODS.of(name).grows
]


@functools.cache
def parts() -> tuple[nn.Module, dnal.Space, dnal.data.Loaders]:
    torch.manual_seed(0)
    network = create("supernet/tiny", classes=10, input_shape=(1, 8, 8))
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=100), 50)
    return network, dnal.Space.of(network, torch.rand(2, 1, 8, 8)), data


def chosen_by(name: str, share: float) -> tuple[nn.Module, dnal.Space, Tensor]:
    """The network as the method leaves it, and what it chose."""
    network, space, data = parts()
    network = copy.deepcopy(network)
    limits = {"macs": share * space.full_cost["macs"]}
    task = task_of(
        network, space, data.train, limits, val=data.val, epochs=2,
        validate=lambda module: {"accuracy": accuracy(module, data.val)}, checkpointer=Checkpointer(data),
    )  # fmt: skip
    chosen = METHODS.read(name).choose(task)
    assert chosen.architecture is not None
    return network, space, chosen.architecture.open


@pytest.mark.parametrize("share", [0.3, 0.06])
@pytest.mark.parametrize("name", NAMES)
def test_every_method_keeps_the_budget_and_a_candidate_where_one_must_stay(name: str, share: float) -> None:
    network, space, chosen = chosen_by(name, share)
    assert len(space.choices) == 2
    assert all(bool(chosen[choice].any()) for choice in space.choices)
    architecture, images = dnal.Architecture.of(space, chosen), torch.rand(2, 1, 8, 8)
    small = dnal.compact(network.eval(), architecture)
    assert 0.9 * share <= counted_macs(small, images, 2) / space.full_cost["macs"] <= share
    assert difference(run(dnal.gated(network, architecture), images), run(small, images)) <= 1e-4


def test_tas_keeps_the_likeliest_candidate_where_one_must_stay() -> None:
    network, space, _ = parts()
    supernet = WidthSupernet(copy.deepcopy(network), space)
    with torch.no_grad():
        supernet.keep.copy_(torch.linspace(-3, -1, space.num_branches))
    supernet.remember({})
    for gates in (supernet.most_likely(), supernet.found()):
        branches = gates[space.num_variables :]
        likeliest = [int(choice.max()) - space.num_variables for choice in space.choices]
        assert branches.nonzero().flatten().tolist() == likeliest
    supernet.settle()
    images = torch.rand(4, 1, 8, 8)
    small = dnal.compact(supernet.network.eval(), dnal.Architecture.of(space, supernet.found() > 0))
    assert difference(run(supernet.eval(), images), run(small, images)) <= 1e-4
    assert bool((supernet.scores()[space.choices[0]] == torch.inf).any())
