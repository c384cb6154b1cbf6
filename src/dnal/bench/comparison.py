"""Means, spreads and paired differences of accuracies, in points."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

from dnal.base.statistics import Estimate, differences, estimate

K = TypeVar("K", bound=Hashable)
Base = TypeVar("Base", bound=Hashable)
Share = TypeVar("Share", bound=Hashable)


def spread(values: Collection[float]) -> float:
    """The standard deviation (n - 1) of single values."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def paired(ours: Mapping[K, float], theirs: Mapping[K, float]) -> Estimate:
    """Ours minus theirs, over what both have (seeds)."""
    return estimate(differences(ours, theirs))


def pooled(ours: Mapping[tuple[Base, Share], float], theirs: Mapping[tuple[Base, Share], float]) -> Estimate:
    """Ours minus theirs over (base, share). What started from one base is one observation: the mean over its shares."""
    gaps: dict[Base, list[float]] = {}
    for (base, share), value in ours.items():
        if (base, share) in theirs:
            gaps.setdefault(base, []).append(value - theirs[base, share])
    return estimate([statistics.fmean(own) for own in gaps.values()])
