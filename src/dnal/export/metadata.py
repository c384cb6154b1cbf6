"""What an exported file says about the run that it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dnal.architecture.architecture import fingerprint
from dnal.changes import Change
from dnal.export.licence import licences_of
from dnal.run.config import Config


def metadata_of(config: Config, result: Mapping[str, Any], change: Change) -> dict[str, str]:
    """Names and texts; a text that holds a list or a table is JSON. No path, no host, no time."""
    compact, base = result["compact"], result["base"]
    figures = {"macs": compact.get("macs"), "params": compact.get("params")}
    figures[config.aim.figure] = compact.get(config.aim.figure)
    figures |= {"base_macs": base.get("macs"), "base_params": base.get("params")}
    texts: dict[str, Any] = {
        "model": config.model,
        "kind": config.kind,
        "objective": config.objective,
        "input_shape": list(config.input),
        "classes": config.classes,
        **{name: value for name, value in figures.items() if value is not None},
        "architecture": widths(change),
        "fingerprint": fingerprint(change.shapes),
        **({"remarks": change.remarks()} if change.remarks() else {}),
        **licences_of(config.model, config.weights),
    }
    if config.mean or config.kind != "images":
        texts |= {"class_names": config.class_names, "normalisation": config.of_kind.normalisation}
        texts |= {"mean": config.mean, "std": config.std} if config.mean else {}
    if config.target_mean:
        texts |= {"target_mean": config.target_mean, "target_std": config.target_std}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in texts.items()}


def widths(change: Change) -> dict[str, str]:
    """Per weight of two or more dimensions its shape, and what it became: "32x3x3x3 -> 20x3x3x3", or "left out"."""
    found = {}
    for name, shape in change.shapes.items():
        if len(shape) < 2:
            continue
        new = change.left(name)
        if not any(new):
            found[name] = f"{_size(shape)} -> left out"
            continue
        found[name] = _size(shape) if tuple(shape) == new else f"{_size(shape)} -> {_size(new)}"
    return found


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
