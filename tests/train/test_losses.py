"""Losses of steps as numbers, whatever their type; what a GPU does meanwhile is in tests/test_cuda.py."""

from __future__ import annotations

import pytest
import torch

from dnal.train.losses import Losses


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_loss_keeps_its_digits_and_its_step(dtype: torch.dtype) -> None:
    losses = Losses()
    values = [torch.tensor(number / 7, dtype=dtype, requires_grad=True) for number in range(5)]
    for step, value in enumerate(values):
        losses.put(step, value, f"batch {step}")
    found = list(losses.read(wait=True))
    assert [(read.step, read.batch) for read in found] == [(step, f"batch {step}") for step in range(5)]
    assert [read.loss for read in found] == [float(value.detach()) for value in values]
    assert list(losses.read(wait=True)) == []


def test_a_loss_may_be_a_number_of_python() -> None:
    """As several processes have it in the mean: with the digits of float64."""
    losses = Losses()
    losses.put(1, 1 / 3, None)
    assert [read.loss for read in losses.read()] == [1 / 3]
