"""The random state of a job, so that several can go on from one point as if each were alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch


def remembered(loaders: Sequence[Any]) -> Callable[[], None]:
    """Takes the random state as it is now; calling the result puts it back, as often as it is called.

    Of the global generators (Python's, NumPy's, torch's on every device), and of each loader what it lets be restored:
    its own generator, its sampler's, and the place that ``state_dict`` tells.
    """
    cpu = torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    python, numpy = random.getstate(), np.random.get_state()
    own = [(generator, generator.get_state()) for loader in loaders for generator in _generators(loader)]
    places = [(loader, loader.state_dict()) for loader in loaders if _resumes(loader)]

    def restore() -> None:
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
        random.setstate(python)
        np.random.set_state(numpy)
        for generator, state in own:
            generator.set_state(state)
        for loader, state in places:
            loader.load_state_dict(state)

    return restore


def _generators(loader: Any) -> list[torch.Generator]:
    found = (getattr(loader, "generator", None), getattr(getattr(loader, "sampler", None), "generator", None))
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def _resumes(loader: Any) -> bool:
    return hasattr(loader, "state_dict") and hasattr(loader, "load_state_dict")
