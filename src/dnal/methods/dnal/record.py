"""What the log says of the gates at the end of an epoch."""

from __future__ import annotations

from typing import Any

import torch

from dnal.gates.functions import sigmoid_gates
from dnal.gates.gated import Gated
from dnal.space.space import Space
from dnal.train.evaluate import Validate

BINS = 20


def gate_record(gated: Gated, space: Space, validate: Validate | None = None) -> dict[str, Any]:
    """Soft cost (of sigmoid(delta s)) and hard cost (of {s > 0}) of every kind, the shares of open gates and of those
    in (.1, .9), how many gates are in each of ``BINS`` equal parts of [0, 1], delta and, where the network can be
    validated, its accuracy with gates rounded to 0/1; with soft gates too, where these are what is trained."""
    record: dict[str, Any] = {}
    with torch.no_grad():
        soft = sigmoid_gates(gated.s, gated.delta).cpu()
        hard = gated.s.cpu() > 0
        for name, cost in space.costs.items():
            record[f"{name}_soft"], record[f"{name}_hard"] = float(cost(soft)), float(cost(hard))
        record["open"] = float(hard.double().mean())
        record["undecided"] = float(((soft > 0.1) & (soft < 0.9)).double().mean())
        record["gates"] = torch.histc(soft.double(), BINS, 0, 1).long().tolist()
    record["delta"] = gated.delta
    if validate is not None:
        before = gated.hard
        if not before:
            record |= {f"{name}_soft": value for name, value in validate(gated).items()}
        gated.hard = True
        try:
            record |= validate(gated)
        finally:
            gated.hard = before
    return record
