"""Last batches of one example, as loaders have them, and batch norm."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

import dnal
from dnal import data
from dnal.train.enough import enough
from dnal.train.listener import Listener
from dnal.train.resume.data_position import DataPosition
from dnal.train.resume.random_state import put_back, random_state

LEFT_OUT = "the last batch has 1 example, and batch norm needs 2: it is left out"


def network() -> nn.Module:
    """Batch norm over vectors, which a single example ends."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))


def images(count: int) -> TensorDataset:
    x = torch.randn(count, 6, generator=torch.Generator().manual_seed(count))
    return TensorDataset(x, torch.arange(count) % 3)


class Told:
    """A loader of one's own, that tells its length only."""

    def __init__(self, count: int, size: int) -> None:
        self.batches = list(DataLoader(images(count), size))

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


LOADERS = {
    "in order": lambda count: DataLoader(images(count), 8),
    "shuffled": lambda count: DataLoader(images(count), 8, shuffle=True),
    "own batches": lambda count: DataLoader(
        images(count), batch_sampler=BatchSampler(RandomSampler(range(count)), 8, drop_last=False)
    ),
    "list": lambda count: list(DataLoader(images(count), 8)),
    "told": lambda count: Told(count, 8),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_it_is_left_out_and_told_once(kind: str) -> None:
    def epochs() -> list[list[int]]:
        loader = enough(LOADERS[kind](33), network())
        sizes = [[len(x) for x, _ in loader] for _ in range(2)]
        return [[len(loader)], *sizes]

    with pytest.warns(UserWarning, match=LEFT_OUT) as caught:
        found = epochs()
    assert found == [[5 if kind == "told" else 4], [8] * 4, [8] * 4]
    assert len(caught) == 1


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("count", [32, 34, 8, 7, 1])
def test_loaders_without_one_are_as_they_were(kind: str, count: int) -> None:
    """Batch for batch, and draw for draw; a single batch is all there is."""
    plain, own = LOADERS[kind](count), LOADERS[kind](count)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        own = enough(own, network())
        for _ in range(2):
            torch.manual_seed(5)
            expected = [(x, float(torch.rand(()))) for x, _ in plain]
            torch.manual_seed(5)
            found = [(x, float(torch.rand(()))) for x, _ in own]
            assert len(own) == len(plain) == len(found)
            assert all(torch.equal(x, u) and r == s for (x, r), (u, s) in zip(expected, found, strict=True))


def test_batches_of_one_that_are_meant_stay() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(enough(DataLoader(images(5), 1), network()))) == 5
        assert len(list(enough([(torch.zeros(1, 6), torch.zeros(1))] * 3, network()))) == 3
        assert len(list(enough(DataLoader(images(33), 8, drop_last=True), network()))) == 4
        plain = nn.Sequential(nn.Linear(6, 3), nn.LayerNorm(3))
        assert [len(x) for x, _ in enough(DataLoader(images(33), 8), plain)] == [8, 8, 8, 8, 1]


def test_of_several_processes_each_needs_two() -> None:
    with pytest.warns(UserWarning, match="has 3 examples, and batch norm needs 4 for all processes"):
        loader = enough(DataLoader(images(35), 8), network(), processes=2)
    assert [len(x) for x, _ in loader] == [8] * 4
    assert len(list(enough(DataLoader(images(36), 8), network(), processes=2))) == 5


@pytest.mark.filterwarnings("ignore:the last batch has")
@pytest.mark.parametrize("kind", ["in order", "shuffled", "own batches", "list", "told"])
@pytest.mark.parametrize("done", [0, 1, 4])
def test_an_epoch_goes_on_in_its_middle(kind: str, done: int) -> None:
    torch.manual_seed(1)
    loader = enough(LOADERS[kind](33), network())
    place = DataPosition(loader)
    list(place)
    batches = iter(place)
    for _ in range(done):
        next(batches)
    state, randomness = copy.deepcopy(place.state_dict()), random_state([loader])
    rest = list(batches) if done else []
    expected = [x for x, _ in [*rest, *place]]
    other_loader = enough(LOADERS[kind](33), network())
    other = DataPosition(other_loader)
    other.load_state_dict(state)
    put_back(randomness, [other_loader])
    found = [x for x, _ in [*(list(other) if 0 < done < len(loader) else []), *other]]
    assert all(torch.equal(x, u) for x, u in zip(expected, found, strict=True))


class Steps(Listener):
    def __init__(self) -> None:
        self.phases: list[tuple[str, int, int]] = []
        self.steps = 0

    def phase(self, name: str, epochs: int, steps_per_epoch: int) -> None:
        self.phases.append((name, epochs, steps_per_epoch))

    def step(self, loss: float) -> None:
        self.steps += 1


@pytest.mark.parametrize("method", ["dnal:held_out=true", "tas"])
def test_every_phase_of_a_job_leaves_it_out_and_the_schedule_counts_what_is_left(method: str) -> None:
    watcher = Steps()
    train = DataLoader(images(33), 8, shuffle=True, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=LEFT_OUT):
        learned = dnal.learn(
            network(), train, DataLoader(images(33), 8), epochs=(1, 1, 1), budget="macs<=70%", method=method,
            listener=watcher, without=["distillation"],
        )  # fmt: skip
    assert watcher.phases == [(name, 1, 4) for name in ("base", "architecture", "retrain")]
    assert watcher.steps == 12
    right = learned.figures.compact.metric * 33
    assert right == pytest.approx(round(right))  # all of them count


def test_a_held_out_batch_of_one_of_ours_does_not_end_alternating_steps() -> None:
    loaders = data.loaders(data.load("digits", limit_train=128), 64, eval_batch_size=25)
    assert [len(y) for _, y in loaders.val][-1] == 1
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 10))
    with pytest.warns(UserWarning, match=LEFT_OUT):
        dnal.learn(net, loaders.train, loaders.val, epochs=(1, 4, 1), budget="macs<=70%", method="dnal:held_out=true")
