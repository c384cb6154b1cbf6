"""A step of several batches is that of one batch with all their examples."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import dnal
from dnal.base.errors import UserError
from dnal.methods.dnal.method import learn_gates
from dnal.train.accumulation import Group, grouped, steps_of
from dnal.train.listener import Listener
from dnal.train.phase import Context, Phase, run_phase
from dnal.train.resume.checkpoint import Checkpoints
from dnal.train.setup.numerics import fabric_of
from dnal.train.step import Step
from dnal.train.technique import Technique
from killer import Killed
from learned import check_same

Batches = list[tuple[Tensor, Tensor]]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10),
    )  # fmt: skip


def batches(sizes: Sequence[int]) -> Batches:
    draw = torch.Generator().manual_seed(1)
    return [(torch.rand(n, 1, 8, 8, generator=draw), torch.randint(10, (n,), generator=draw)) for n in sizes]


def joined(given: Batches) -> tuple[Tensor, Tensor]:
    return torch.cat([x for x, _ in given]), torch.cat([y for _, y in given])


def test_groups_are_of_equal_length_and_the_last_has_the_rest() -> None:
    groups = list(grouped([1, 2, 3, 4, 5], 2))
    assert [group.batches for group in groups] == [(1, 2), (3, 4), (5,)]
    assert len(groups) == steps_of([0] * 5, 2)
    assert list(grouped([1, 2], 1)) == [1, 2]
    assert Group(tuple(batches([6, 2]))).shares() == [0.75, 0.25]


def test_steps_are_those_of_larger_batches() -> None:
    """Six batches, the last of another size, in steps of four and two: the weights, and the losses."""
    small = batches([8, 8, 8, 8, 8, 3])
    large = [joined(small[:4]), joined(small[4:])]
    found = []
    for loader, accumulate in ((small, 4), (large, 1)):
        own, history = network(), list[dict[str, Any]]()
        context = Context(fabric_of("32-true"), loader, F.cross_entropy, history=history, accumulate=accumulate)
        run_phase(Phase("base", 3, 0.1, warmup=0.2), own, context)
        losses = torch.tensor([record["loss"] for record in history], dtype=torch.float64)
        rates = torch.tensor([record["lr"] for record in history], dtype=torch.float64)
        found.append({**own.state_dict(), "losses": losses, "rates": rates})
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], rtol=1e-6, atol=1e-6)
    assert float((found[0]["2.weight"] - network().state_dict()["2.weight"]).abs().max()) > 1e-2


def test_a_search_counts_steps() -> None:
    small = batches([8] * 6)
    large = [joined(small[:3]), joined(small[3:])]
    found = []
    for loader, accumulate in ((small, 3), (large, 1)):
        own = network().double()
        space = dnal.Space.of(own, small[0][0][:2].double())
        gated = dnal.Gated(own, space, start=1.0).double()
        data = [(x.double(), y) for x, y in loader]
        context = Context(fabric_of("32-true"), data, F.cross_entropy, accumulate=accumulate)
        search = dnal.BudgetSearch(gated, space, {"macs": 0.4 * space.full_cost["macs"]}, context.steps(4))
        assert context.steps(4) == 8
        found.append(learn_gates(search, Phase("architecture", 4, 0.05), context))
        assert search.done == 8
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-6)


@dataclass
class Dies(Technique):
    """Ends the job at a batch, which may be any of its step's."""

    left: list[int] = field(default_factory=list)

    def batch(self, batch: Any, step: Step) -> Any:
        if self.left and not self.left[0]:
            raise Killed
        if self.left:
            self.left[0] -= 1
        return batch


class Counts(Listener):
    def __init__(self) -> None:
        self.steps = 0

    def step(self, loss: float) -> None:
        self.steps += 1


def job(**options: Any) -> dnal.Learned:
    data = dnal.data.loaders(dnal.data.load("digits", limit_train=80), 16)
    assert len(data.train) == 5
    return dnal.learn(copy.deepcopy(network()), data.train, data.val, budget="macs<=40%", epochs=(2, 2, 2), lr=0.05,
                      accumulate=2, **options)  # fmt: skip


def test_killed_in_the_middle_of_a_step_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    counts = Counts()
    whole = job(listener=counts, techniques=[Dies()])
    assert counts.steps == 6 * 3
    for at in (3, 13):  # in two phases, at the second batch of a step
        folder = tmp_path / str(at)
        with pytest.raises(Killed):
            job(checkpoints=Checkpoints(folder, 1), techniques=[Dies(left=[at])])
        again = Counts()
        check_same(job(checkpoints=folder, listener=again, techniques=[Dies()]), whole)
        assert 0 < again.steps < counts.steps


def test_input_that_is_no_number_is_named_by_its_batch() -> None:
    data = batches([4] * 4)
    data[2][0][0, 0, 0, 0] = float("nan")
    context = Context(fabric_of("32-true"), data, F.cross_entropy, accumulate=2)
    with pytest.raises(UserError, match="first in batch 3"):
        run_phase(Phase("base", 1, 0.1), network(), context)
