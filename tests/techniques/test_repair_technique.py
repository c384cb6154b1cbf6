"""Repair between a method's choice and the retraining, for any method that removes channels of trained weights."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.data.loader import EpochLoader
from dnal.train.listener import Listener
from dnal.train.resume.checkpoint import Checkpoints
from killer import Killed, Killer

EPOCHS = (1, 1, 1)


def data() -> dnal.data.Loaders:
    return dnal.data.loaders(dnal.data.load("digits", limit_train=400), 48)


def network() -> nn.Module:
    torch.manual_seed(0)
    return dnal.models.create("vgg_small", classes=10, input_shape=(1, 8, 8))


def narrow() -> nn.Module:
    """One whose space is found at once."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def job(method: str, train: Any = None, build: Callable[[], nn.Module] = narrow, **options: Any) -> dnal.Learned:
    given = data()
    settings: dict[str, Any] = {"epochs": EPOCHS, "without": ["distillation"], "budget": "macs<=25%", **options}
    return dnal.learn(build(), train or given.train, given.val, method=method, **settings)


@functools.cache
def straight(method: str, repaired: bool) -> dnal.Learned:
    """After the cut, not retrained."""
    epochs = (4, 1, 0) if method == "slimming" else (5, 0, 0)
    return job(method, build=network, epochs=epochs, techniques=["repair"] * repaired, budget="macs<=50%")


@pytest.mark.parametrize("method", ["magnitude", "slimming"])
def test_it_saves_much_of_what_a_removal_costs_and_chooses_nothing(method: str) -> None:
    plain, repaired = straight(method, False), straight(method, True)
    assert plain.architecture == repaired.architecture
    assert repaired.figures.compact.metric > plain.figures.compact.metric + 0.1


def short(kind: str, method: str, **options: Any) -> dnal.Learned:
    """3 steps an epoch, from a loader that resumes by itself or draws from torch's global generator."""
    loader: Any = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 32).train
    if kind == "global":
        images, labels = next(iter(dnal.data.loaders(dnal.data.load("digits", limit_train=96), 96).train))
        loader = DataLoader(TensorDataset(images, labels), 32, shuffle=True)
    return job(method, loader, techniques=["repair:samples=50"], epochs=(1, 2, 2), **options)


@functools.cache
def whole(kind: str, method: str) -> dnal.Learned:
    return short(kind, method)


@pytest.mark.parametrize("kind", ["resumable", "global"])
@pytest.mark.parametrize(("method", "after"), [("magnitude", (4, 5)), ("slimming", (8, 3))])
def test_killed_it_goes_on_to_the_same_bits(kind: str, method: str, after: tuple[int, int], tmp_path: Path) -> None:
    for steps in after:  # and so many more, from the last step that was kept
        with pytest.raises(Killed):
            short(kind, method, checkpoints=Checkpoints(tmp_path, 2), listener=Killer(steps))
    again = short(kind, method, checkpoints=tmp_path)
    assert again.architecture == whole(kind, method).architecture
    for name, tensor in whole(kind, method).network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_the_batches_of_the_retraining_are_those_that_come_without_it() -> None:
    class Diary(Listener):
        def __init__(self) -> None:
            self.positions: list[Any] = []

        def phase(self, name: str, epochs: int, steps: int) -> None:
            state = torch.get_rng_state().tolist()
            self.positions.append((name, loader.state_dict(), state))

    found = []
    for techniques in ([], ["repair"]):
        loader: EpochLoader = data().train
        diary = Diary()
        job("magnitude", loader, techniques=techniques, listener=diary)
        found.append(diary.positions)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("method", "options", "why"),
    [
        ("dnal", {}, "have learnt without what leaves already"),
        ("magnitude", {"reinitialize": True}, "are drawn again"),
    ],
)
def test_where_it_changes_nothing_it_says_so(method: str, options: dict[str, Any], why: str) -> None:
    with pytest.warns(UserWarning, match=f"'repair' acts on the weights that are retrained, which {why}"):
        repaired = job(method, epochs=(1, 1, 1), techniques=["repair"], **options)
    plain = job(method, epochs=(1, 1, 1), **options)
    for name, tensor in plain.network.state_dict().items():
        assert torch.equal(tensor, repaired.network.state_dict()[name])


def test_a_method_that_removes_no_channels_has_nothing_to_repair() -> None:
    given = data()
    with pytest.warns(UserWarning, match="this method removes none"):
        dnal.learn(network(), given.train, given.val, method="net2wider", epochs=(1, 0, 1), techniques=["repair"])


def test_it_is_silent_where_it_acts_though_nothing_is_retrained() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*changes nothing")
        straight("magnitude", True)
