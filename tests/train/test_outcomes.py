"""What a network makes of single examples: their mean is what the metric says of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dnal.train.evaluate import accuracy, r2
from dnal.train.outcomes import Outcomes, difference, outcomes_of


class Batches(list[tuple[Any, Any]]):
    pass


def classified(*positions: int, dtype: torch.dtype = torch.int64) -> Batches:
    torch.manual_seed(0)
    sizes = (6, 3)
    found = Batches((torch.randn(n, 4, *positions), torch.randint(0, 4, (n, *positions)).to(dtype)) for n in sizes)
    if dtype != torch.uint8:
        found[0][1][0] = -100  # one that counts nowhere
        found[1][1].view(-1)[-1] = -100  # and of an example with several targets a part
    return found


@pytest.mark.parametrize("positions", [(), (5,), (4, 3)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_their_mean_is_the_accuracy(positions: tuple[int, ...], dtype: torch.dtype) -> None:
    batches = classified(*positions, dtype=dtype)
    found = outcomes_of(accuracy, nn.Identity(), batches)
    assert found is not None
    counting = sum(int((targets.long() != -100).reshape(len(targets), -1).any(1).sum()) for _, targets in batches)
    assert len(found.values) == counting
    assert sum(found.values) / counting == pytest.approx(accuracy(nn.Identity(), batches), abs=1e-6)
    if not positions:
        right = [float(row.argmax() == t) for x, y in batches for row, t in zip(x, y.long(), strict=True) if t != -100]
        assert list(found.values) == right


def test_of_a_single_example_each_target_counts() -> None:
    """Such as the nodes of a graph."""
    torch.manual_seed(0)
    outputs, targets = torch.randn(1, 4, 9), torch.randint(0, 4, (1, 9))
    targets[0, :3] = -100
    found = outcomes_of(accuracy, nn.Identity(), Batches([(outputs, targets)]))
    assert found is not None
    assert list(found.values) == [float(outputs[0, :, i].argmax() == targets[0, i]) for i in range(3, 9)]
    alone = outcomes_of(accuracy, nn.Identity(), Batches([(outputs[:, :, 4], targets[:, 4])]))
    assert alone is not None
    assert len(alone.values) == 1
    assert difference(alone, alone) is None  # too few


@pytest.mark.parametrize("columns", [1, 3])
def test_their_mean_is_r2(columns: int) -> None:
    torch.manual_seed(0)
    batches = Batches((torch.randn(n, 4), torch.randn(n, columns)) for n in (7, 5))
    network = nn.Linear(4, columns)
    found = outcomes_of(r2, network, batches)
    assert found is not None
    assert sum(found.values) / 12 == pytest.approx(r2(network, batches), abs=1e-6)
    assert len(set(found.values)) == 12


def test_a_metric_of_the_users_says_nothing_of_single_examples() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, network: nn.Module, loader: Any) -> float:
            return 1.0

    assert outcomes_of(Unhashable(), nn.Identity(), classified()) is None
    assert outcomes_of(accuracy, nn.Identity(), Batches()) is None
    huge = Batches([(torch.tensor([[1e200], [0.0]], dtype=torch.float64), torch.tensor([[0.0], [1.0]]))])
    assert outcomes_of(r2, nn.Identity(), huge) is None


def test_only_what_was_made_of_the_same_examples_is_compared() -> None:
    batches = classified()
    turned = Batches([(x.flip(0), y.flip(0)) for x, y in batches])

    def shifted(x: Tensor) -> Tensor:
        return x.roll(1, dims=1)

    class Other(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return shifted(x)

    ours, theirs = outcomes_of(accuracy, nn.Identity(), batches), outcomes_of(accuracy, Other(), batches)
    found = difference(ours, theirs)
    assert found is not None
    assert found.value == pytest.approx(accuracy(nn.Identity(), batches) - accuracy(Other(), batches), abs=1e-6)
    assert difference(ours, outcomes_of(accuracy, Other(), turned)) is None
    assert difference(ours, None) is None
    assert difference(Outcomes((1.0, 0.0), "a"), Outcomes((1.0,), "a")) is None
