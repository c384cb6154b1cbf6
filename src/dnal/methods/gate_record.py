"""What the log says of the gates at the end of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dnal.gates import Gated, sigmoid_gates
from dnal.space.space import Space


@torch.no_grad()
def gate_record(gated: Gated, space: Space) -> dict[str, Any]:
    """Soft cost (of sigmoid(delta s)) and hard cost (of {s > 0}) of every kind, the shares of open gates and of those
    in (.1, .9), and delta."""
    soft, hard = sigmoid_gates(gated.s, gated.delta), gated.s > 0
    record: dict[str, Any] = {}
    for name, cost in space.costs.items():
        record[f"{name}_soft"], record[f"{name}_hard"] = float(cost(soft)), float(cost(hard))
    record["open"] = float(hard.double().mean())
    record["undecided"] = float(((soft > 0.1) & (soft < 0.9)).double().mean())
    record["delta"] = gated.delta
    return record


@contextmanager
def hardened(gated: Gated) -> Iterator[Gated]:
    """The gated network with its gates rounded to 0/1, for a measurement."""
    before = gated.hard
    gated.hard = True
    try:
        yield gated
    finally:
        gated.hard = before
