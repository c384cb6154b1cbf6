"""Runs a network whose closed channels are zeros: what a compact one is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dnal.space.surgery.inputs import Inputs
from dnal.space.surgery.norms import hard_weights
from dnal.space.surgery.remove import Kept, zeroed
from dnal.space.surgery.running import call
from dnal.space.surgery.substitute import call_with, slots


def call_zeroed(network: nn.Module, kept: Kept, inputs: Inputs) -> Any:
    """What the network computes of ``inputs`` with every slice of a closed channel at zero, and its norms over those
    that are open; the network stays as it is."""
    zero = zeroed(network, kept)
    own = dict(network.named_parameters())
    for name, tensor in zero.items():  # torch takes other kernels, often slower ones, for weights without gradients
        tensor.requires_grad_(own[name].requires_grad)
    places = slots(network, zero)
    device = next((tensor.device for tensor in zero.values()), torch.device("cpu"))
    norms = hard_weights(kept.norms, device)
    return call(lambda *a, **k: call_with(network, zero, places, a, k, norms=norms), inputs)
