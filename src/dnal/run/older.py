"""Runs of before options had one home: their config.yaml and result.json under today's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = {
    "least": "min_width", "multiple": "divisor", "depth": "prune_blocks", "deploy_batch": "deploy_batch_size",
}  # fmt: skip
MARK = "recipe"
"""A key that every older document has, and none of today's."""
TODAY = {"optimizer": "sgd", "schedule": "cosine", "schedule_over": "phase"}
"""Options that there were not: what they do by default is what was done."""
LATER: dict[str, Any] = {"against": [], "accumulate": 1, "norms": "fixed", "uniform_layers": False}
"""Options that came when runs had today's names already, with what was done before."""


def config_of(document: Any) -> Any:
    """config.yaml as it would be written today; one of today stays as it is."""
    if not isinstance(document, Mapping):
        return document
    if MARK not in document:
        return {**LATER, **document} if LATER.keys() - document.keys() else document
    found = {NAMES.get(str(key), str(key)): value for key, value in document.items()}
    recipe, steps, penalty = found.pop(MARK), found.pop("steps", "joint"), found.pop("lambda", None)
    method = {"name": "paper" if recipe == "paper" else found.get("method", "dnal")}
    if recipe == "paper" and penalty is not None:
        method["penalty"] = penalty
    if steps == "alternating":
        method["held_out"] = True
    found["method"] = method
    found["techniques"] = [{"name": "distillation"}] if found.pop("distil", False) is True else []
    found["reinitialize"] = found.pop("init", "trained") == "fresh"
    return {**TODAY, **LATER, **found}


def result_of(document: Any) -> Any:
    """result.json as it would be written today; one of today stays as it is."""
    if not isinstance(document, Mapping) or MARK not in document:
        return document
    found = dict(document)
    if found.pop(MARK) == "paper":
        found["method"] = "paper"
    return found
