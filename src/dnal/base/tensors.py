"""Tensors as bytes: what goes into a file, and into a checksum."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, each in memory of its own and in the plain order: safetensors refuses tensors that share
    memory, and so every name is in the file."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor on the CPU, in the plain order of its numbers."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
