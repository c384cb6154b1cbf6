"""Learning rates over the progress of a phase."""

from __future__ import annotations

import math


def cosine(progress: float, peak: float, warmup: float = 0.0, floor: float = 0.0) -> float:
    """Rises linearly to ``peak`` during the first ``warmup`` share, then falls on a half cosine to ``floor``."""
    if progress < warmup:
        return peak * progress / warmup
    rest = (progress - warmup) / (1 - warmup) if warmup < 1 else 1.0
    return floor + (peak - floor) * (1 + math.cos(math.pi * min(rest, 1.0))) / 2
