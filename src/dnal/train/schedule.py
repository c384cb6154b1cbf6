"""Learning rates over the progress of a phase."""

from __future__ import annotations

import math
from collections.abc import Callable

from dnal.base.errors import UserError, suggestion
from dnal.base.place import found_at
from dnal.settings import SCHEDULES

Schedule = Callable[[float, float, float], float]
"""(progress of the phase from 0 to 1, peak, share of the phase in which it rises) -> the learning rate."""


def cosine(progress: float, peak: float, warmup: float = 0.0, floor: float = 0.0) -> float:
    """Rises linearly to ``peak`` during the first ``warmup`` share, then falls on a half cosine to ``floor``."""
    if progress < warmup:
        return peak * progress / warmup
    rest = (progress - warmup) / (1 - warmup) if warmup < 1 else 1.0
    return floor + (peak - floor) * (1 + math.cos(math.pi * min(rest, 1.0))) / 2


def constant(progress: float, peak: float, warmup: float = 0.0) -> float:
    """Rises linearly to ``peak`` during the first ``warmup`` share, and stays."""
    return peak * min(1.0, progress / warmup) if warmup else peak


def step(progress: float, peak: float, warmup: float = 0.0) -> float:
    """``constant``, but a tenth from half of the phase on, and a hundredth from three quarters on, as ResNets were
    trained (He et al., arXiv 1512.03385, section 4.2)."""
    return constant(progress, peak, warmup) * (1.0 if progress <= 0.5 else 0.1 if progress <= 0.75 else 0.01)


def one_cycle(progress: float, peak: float, warmup: float = 0.0) -> float:
    """Rises on a half cosine from a 25th of ``peak`` during the first 30 %, or ``warmup`` where that is longer, then
    falls to nearly nothing (Smith and Topin, arXiv 1708.07120; the shape of torch's OneCycleLR)."""
    rise = max(0.3, warmup)
    if progress < rise:
        return peak / 25 + (peak - peak / 25) * (1 - math.cos(math.pi * progress / rise)) / 2
    return cosine((progress - rise) / (1 - rise), peak, floor=peak / 25 / 1e4) if rise < 1 else peak


def schedule_of(given: str | Schedule) -> Schedule:
    """A schedule by its name, or a function of the user's as it is.

    Raises:
        UserError: there is none of this name.
    """
    if not isinstance(given, str):
        return given
    if given not in SCHEDULES:
        raise UserError(f"unknown schedule '{given}'; {suggestion(given, SCHEDULES)}")
    schedule: Schedule = found_at(SCHEDULES[given], "schedule", given)
    return schedule
