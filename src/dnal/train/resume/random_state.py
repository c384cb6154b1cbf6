"""The random state of a job as plain values and tensors, so that it can go on from one point as if never stopped."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


def random_state(loaders: Sequence[Any]) -> dict[str, Any]:
    """Everything random as it is now; :func:`put_back` restores it, as often as it is called.

    The global generators (Python's, NumPy's, torch's on the CPU and on the current GPU), and of each loader its own
    generator and its sampler's.
    """
    kind, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": [
            kind,
            np.asarray(keys).tolist(),
            *(value.item() if hasattr(value, "item") else value for value in rest),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "loaders": [generator.get_state() for generator in _generators(loaders)],
    }


def put_back(state: dict[str, Any], loaders: Sequence[Any]) -> None:
    """Restores what :func:`random_state` returned for the same loaders."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    for generator, own in zip(_generators(loaders), state["loaders"], strict=True):
        generator.set_state(own)


def _generators(loaders: Sequence[Any]) -> list[torch.Generator]:
    found = [
        getattr(place, "generator", None) for loader in loaders for place in (loader, getattr(loader, "sampler", None))
    ]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())
