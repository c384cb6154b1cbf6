"""Equal jobs give equal networks on a GPU too, where the fastest kernels add numbers up in any order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""Where cuBLAS looks for the buffers that keep its own order of summation (":4096:8" in NVIDIA's documentation)."""


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """On a GPU, kernels that give the same digits every time; on a CPU those of this project's networks do so anyway.

    An operation of the user's that has no such kernel runs all the same, and PyTorch warns of it.
    """
    if device.type != "cuda":
        yield
        return
    switches = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark, workspace = torch.backends.cudnn.benchmark, os.environ.get(WORKSPACE)
    torch.use_deterministic_algorithms(True, warn_only=not switches[0] or switches[1])
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    os.environ.setdefault(WORKSPACE, ":4096:8")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(switches[0], warn_only=switches[1])
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
