"""Which numbers a device computes with, and how fast a small training step is with them."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import nn

from dnal.settings import PRECISIONS
from dnal.train.setup.numerics import without_chatter

CHANNELS, SIDE, IMAGES = 64, 32, 8
WARM, TURNS = 2, 5


def precisions() -> list[dict[str, Any]]:
    """For every kind of device and every precision: device, precision, ms (of a step: forward and backward through
    two convolutions), or refusal: why there is none (else "")."""
    kinds = [kind for kind, there in _there().items() if there]
    return [_row(kind, precision) for kind in kinds for precision in PRECISIONS]


def _there() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}


def _row(kind: str, precision: str) -> dict[str, Any]:
    row = {"device": kind, "precision": precision, "ms": None, "refusal": ""}
    if precision == "16-mixed" and kind == "cpu":
        return row | {"refusal": "on a GPU only"}  # Fabric takes bf16 in its place
    try:
        return row | {"ms": _step_ms(kind, precision)}
    except (RuntimeError, ValueError, TypeError) as error:
        return row | {"refusal": " ".join(str(error).split()) or type(error).__name__}


def _step_ms(kind: str, precision: str) -> float:
    """The median of some steps; another random state is used and put back."""
    with torch.random.fork_rng():
        with without_chatter():
            fabric = Fabric(accelerator=kind, devices=1, precision=precision)  # type: ignore[arg-type]
        layers = [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2)]
        network = fabric.setup(nn.Sequential(*layers))
        images = torch.randn(IMAGES, CHANNELS, SIDE, SIDE, device=fabric.device)
    ms = []
    for _ in range(WARM + TURNS):
        begun = time.perf_counter()
        fabric.backward(network(images).square().mean())
        if kind != "cpu":
            getattr(torch, kind).synchronize()
        ms.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(ms[WARM:])
