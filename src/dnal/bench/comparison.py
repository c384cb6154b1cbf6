"""Means, spreads and paired differences of accuracies, in points."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Hashable, Mapping
from typing import NamedTuple, TypeVar

from scipy import stats

CONFIDENCE = 0.95

K = TypeVar("K", bound=Hashable)
Base = TypeVar("Base", bound=Hashable)
Share = TypeVar("Share", bound=Hashable)


class Estimate(NamedTuple):
    """A mean of ``number`` values and its standard error, NaN for fewer than two."""

    mean: float
    error: float
    number: int


def estimate(values: Collection[float]) -> Estimate:
    """mean, and standard deviation (n - 1) over the root of n; NaN where there are no values."""
    count = len(values)
    mean = statistics.fmean(values) if count else math.nan
    return Estimate(mean, statistics.stdev(values) / math.sqrt(count) if count > 1 else math.nan, count)


def spread(values: Collection[float]) -> float:
    """The standard deviation (n - 1) of single values."""
    return statistics.stdev(values) if len(values) > 1 else math.nan


def paired(ours: Mapping[K, float], theirs: Mapping[K, float]) -> Estimate:
    """Ours minus theirs, over what both have (seeds)."""
    return estimate([value - theirs[key] for key, value in ours.items() if key in theirs])


def pooled(ours: Mapping[tuple[Base, Share], float], theirs: Mapping[tuple[Base, Share], float]) -> Estimate:
    """Ours minus theirs over (base, share). What started from one base is one observation: the mean over its shares."""
    gaps: dict[Base, list[float]] = {}
    for (base, share), value in ours.items():
        if (base, share) in theirs:
            gaps.setdefault(base, []).append(value - theirs[base, share])
    return estimate([statistics.fmean(own) for own in gaps.values()])


def interval(found: Estimate, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's interval of the mean; NaN for fewer than two values."""
    if found.number < 2:
        return math.nan, math.nan
    reach = float(stats.t.ppf((1 + confidence) / 2, found.number - 1)) * found.error
    return found.mean - reach, found.mean + reach
