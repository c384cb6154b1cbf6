"""What an exported file says about the run that it comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dnal.architecture.architecture import Architecture
from dnal.export.licence import licences_of
from dnal.run.config import Config

NORMALISATION = "(image - mean) / std per channel; images of 8 bits are 0 to 1 before"


def metadata_of(config: Config, result: Mapping[str, Any], architecture: Architecture) -> dict[str, str]:
    """Names and texts; a text that holds a list or a table is JSON. No path, no host, no time."""
    compact, base = result["compact"], result["base"]
    figures = {"macs": compact.get("macs"), "params": compact.get("params"), "accuracy": compact.get("accuracy")}
    figures |= {"base_macs": base.get("macs"), "base_params": base.get("params")}
    texts: dict[str, Any] = {
        "model": config.model,
        "input_shape": list(config.input),
        "classes": config.classes,
        **{name: value for name, value in figures.items() if value is not None},
        "architecture": widths(architecture),
        "fingerprint": architecture.fingerprint,
        **licences_of(config.model, config.weights),
    }
    if config.mean:
        texts |= {"class_names": config.class_names, "normalisation": NORMALISATION}
        texts |= {"mean": config.mean, "std": config.std}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in texts.items()}


def widths(architecture: Architecture) -> dict[str, str]:
    """Per weight of two or more dimensions its shape, and what it became: "32x3x3x3 -> 20x3x3x3", or "left out"."""
    found = {}
    for name, shape in architecture.shapes.items():
        if len(shape) < 2:
            continue
        if architecture.kept.removes(name):
            found[name] = f"{_size(shape)} -> left out"
            continue
        new = architecture.kept.left(name, shape)
        found[name] = _size(shape) if tuple(shape) == new else f"{_size(shape)} -> {_size(new)}"
    return found


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
