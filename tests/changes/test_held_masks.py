"""Masked weights are zero after a step whatever they were, and nothing else is touched, in any type and order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from dnal.changes.masks import HeldMasks


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_what_is_masked_is_plus_zero_and_the_rest_stays(dtype: torch.dtype, order: torch.memory_format) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Linear(5, 7)).to(dtype).to(memory_format=order)
    masks = {"0.weight": torch.rand(6, 4, 3, 3) < 0.5, "1.weight": torch.rand(7, 5) < 0.3}
    held = HeldMasks(masks, 0.5)
    step: Any = SimpleNamespace(network=network)
    for beyond in (float("nan"), float("-inf"), -3.0):
        with torch.no_grad():
            for name, mask in masks.items():
                network.get_parameter(name)[~mask] = beyond
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        held.after_step(step)
        for name, parameter in network.named_parameters():
            stays = masks.get(name, torch.ones(parameter.shape, dtype=torch.bool))
            assert torch.equal(parameter, before[name].where(stays, torch.zeros((), dtype=dtype)))
            assert not bool(torch.signbit(parameter.detach()[~stays]).any())
