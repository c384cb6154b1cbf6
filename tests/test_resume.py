"""A job that was stopped anywhere and goes on is the job that never stopped, bit for bit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import dnal
from dnal.base.claim import LOCK, lock
from dnal.base.errors import UserError
from dnal.train.listener import Listener
from dnal.train.loop import Stopped
from dnal.train.resume.checkpoint import Checkpoints
from holder import holder
from killer import Killed, Killer
from learned import check_same

EPOCHS = (2, 2, 2)
STEPS = 3  # an epoch
ALL = STEPS * sum(EPOCHS)
SLOW = (pytest.mark.slow,)
OFTEN = (4, 11, 14)
"""One in each phase; every step of every kind of job takes long."""


def data(kind: str) -> tuple[Any, Any]:
    if kind == "digits":
        own = dnal.data.loaders(dnal.data.load("digits", limit_train=96), 32)
        return own.train, own.val
    images = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(48) % 10
    generator = torch.Generator().manual_seed(2) if kind == "generator" else None
    train = DataLoader(TensorDataset(images, labels), 16, shuffle=True, generator=generator)
    return train, DataLoader(TensorDataset(images[:20], labels[:20]), 8, shuffle=True)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def job(kind: str = "digits", **options: Any) -> dnal.Learned:
    train, val = data(kind)
    budget = {} if options.get("method") == "paper" else {"budget": "macs<=40%"}
    settings: dict[str, Any] = {"epochs": EPOCHS, "lr": 0.05, **budget, **options}
    return dnal.learn(network(), train, val, **settings)


@functools.cache
def whole(kind: str, method: str) -> dnal.Learned:
    return job(kind, method=method)


@pytest.mark.parametrize(
    ("kind", "method", "at"),
    [
        pytest.param(kind, method, at, marks=() if (method == "dnal" and kind == "digits") or at in OFTEN else SLOW)
        for at in (1, 4, 6, 8, 11, 12, 14, 17)
        for kind, method in (
            ("digits", "dnal"), ("digits", "dnal:held_out=true"), ("digits", "paper"), ("global", "dnal"),
            ("generator", "dnal:held_out=true"),
        )
    ],
)  # fmt: skip
def test_killed_after_any_step(kind: str, method: str, at: int, tmp_path: Path) -> None:
    every = Checkpoints(tmp_path, 2)
    with pytest.raises(Killed):
        job(kind, method=method, checkpoints=every, listener=Killer(at))
    lost = Checkpoints(tmp_path).load()
    assert lost is not None
    check_same(job(kind, method=method, checkpoints=tmp_path), whole(kind, method))


def test_stopped_again_and_again(tmp_path: Path) -> None:
    stops = 0
    while True:
        asked = iter([False, False, True])
        try:
            learned = job(checkpoints=tmp_path, stop=functools.partial(next, asked))
        except Stopped:
            stops += 1
            assert stops < ALL
            continue
        break
    assert stops >= ALL // 3 - 1
    check_same(learned, whole("digits", "dnal"))


def test_a_finished_job_only_measures_again(tmp_path: Path) -> None:
    job(checkpoints=tmp_path)
    again = job(checkpoints=tmp_path, listener=Killer(0))
    check_same(again, whole("digits", "dnal"))


def test_another_jobs_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        job(checkpoints=tmp_path, listener=Killer(4))
    with pytest.raises(dnal.UserError, match=r"another job: its lr is 0\.05, this one's 0\.1"):
        job(checkpoints=tmp_path, lr=0.1)
    train, val = data("generator")
    other = DataLoader(train.dataset, 8)
    with pytest.raises(dnal.UserError, match="batches"):
        dnal.learn(network(), other, val, budget="macs<=40%", epochs=EPOCHS, lr=0.05, checkpoints=tmp_path)


def trade_off(checkpoints: Callable[[int], Path | None], listeners: list[Listener]) -> list[dnal.Learned]:
    train, val = data("global")
    return dnal.trade_off(
        network(), train, val, budgets=["macs<=60%", "macs<=30%"], epochs=EPOCHS, lr=0.05, listeners=listeners,
        checkpoints=[checkpoints(0), checkpoints(1)],
    )  # fmt: skip


@pytest.mark.parametrize("at", [3, 9, 15, 20, 26])
def test_a_trade_off_goes_on_with_what_is_left(at: int, tmp_path: Path) -> None:
    expected = trade_off(lambda number: None, [Listener(), Listener()])
    killer = Killer(at)
    with pytest.raises(Killed):
        trade_off(lambda number: tmp_path / str(number), [killer, killer])
    for one, other in zip(
        trade_off(lambda number: tmp_path / str(number), [Listener(), Listener()]), expected, strict=True
    ):
        check_same(one, other)


def test_a_run_of_a_trade_off_goes_on_alone(tmp_path: Path) -> None:
    expected = trade_off(lambda number: None, [Listener(), Listener()])[1]
    killer = Killer(15)  # in the first budget's third phase
    with pytest.raises(Killed):
        trade_off(lambda number: tmp_path / str(number), [killer, killer])
    train, val = data("global")
    alone = dnal.learn(
        network(), train, val, budget="macs<=30%", epochs=EPOCHS, lr=0.05, checkpoints=tmp_path / "1",
        listener=Killer(12),
    )  # fmt: skip
    check_same(alone, expected)


def test_the_network_of_another_seed_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        job(checkpoints=Checkpoints(tmp_path, 2), listener=Killer(4))
    train, val = data("digits")
    found = dnal.learn(network(seed=5), train, val, budget="macs<=40%", epochs=EPOCHS, lr=0.05, checkpoints=tmp_path)
    check_same(found, whole("digits", "dnal"))


class Other(Listener):
    """Another job that would work in the folder, at every step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.refused = folder, 0

    def step(self, loss: float) -> None:
        with (self.folder / LOCK).open() as file:
            self.refused += not lock(file, wait=False)


@pytest.mark.parametrize("there", [False, True])
def test_one_process_at_a_time_works_in_a_folder_of_checkpoints(there: bool, tmp_path: Path) -> None:
    folder = tmp_path / "states"
    if there:
        folder.mkdir()
        with holder(folder), pytest.raises(UserError, match="another `dnal` works in"):
            job(checkpoints=folder)
    other = Other(folder)
    job(checkpoints=folder, listener=other)
    assert other.refused == ALL
    assert not (folder / LOCK).exists()


def test_a_job_that_comes_between_is_refused_before_it_writes(tmp_path: Path) -> None:
    """Both began when there was no folder yet."""
    folder = tmp_path / "states"

    class Comes(Listener):
        def space(self, space: object, ranges: object) -> None:
            folder.mkdir()
            self.process = holder(folder)
            self.process.__enter__()

    comes = Comes()
    try:
        with pytest.raises(UserError, match="another `dnal` works in"):
            job(checkpoints=folder, listener=comes)
        assert [entry.name for entry in folder.iterdir()] == [LOCK]
    finally:
        comes.process.__exit__(None, None, None)
