"""Statistics with their intervals: means, paired differences, equivalence, rank correlations, AUROC.

>>> found = paired({0: 64.6, 1: 65.1, 2: 63.9, 3: 66.0}, {0: 62.0, 1: 64.8, 2: 63.0, 3: 63.1})
>>> f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}], {found.number} pairs"
'+1.67 [-0.35, +3.70], 4 pairs'
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
RESAMPLES = 1000
"""Of a bootstrap."""
FEW = 500
"""Pairs whose orders all stand in one matrix."""

K = TypeVar("K", bound=Hashable)


class Estimate(NamedTuple):
    """A mean of ``number`` values and its standard error, NaN for fewer than two."""

    mean: float
    error: float
    number: int


class Interval(NamedTuple):
    """A statistic and the ends of its interval, which are NaN where there are too few values for one.

    Attributes:
        number: of values, or pairs, that it is of. confidence: of the interval. how: it was made.
    """

    value: float
    low: float
    high: float
    number: int
    confidence: float
    how: str


def estimate(values: Collection[float]) -> Estimate:
    """mean, and standard deviation (n - 1) over the root of n; NaN where there are no values."""
    count = len(values)
    mean = statistics.fmean(values) if count else math.nan
    return Estimate(mean, statistics.stdev(values) / math.sqrt(count) if count > 1 else math.nan, count)


def interval(found: Estimate, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Student's interval of the mean; NaN for fewer than two values."""
    if found.number < 2:
        return math.nan, math.nan
    reach = float(_stats().t.ppf((1 + confidence) / 2, found.number - 1)) * found.error
    return found.mean - reach, found.mean + reach


def mean(values: Collection[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of independent values with Student's interval."""
    found = estimate(values)
    return Interval(found.mean, *interval(found, confidence), found.number, confidence, "Student's t")


def mean_of_known(values: Collection[float]) -> Interval:
    """:func:`mean` of those that are not NaN."""
    return mean([value for value in values if not math.isnan(value)])


def differences(ours: Mapping[K, float], theirs: Mapping[K, float]) -> list[float]:
    """Ours minus theirs, over the keys (seeds) that both have."""
    return [value - theirs[key] for key, value in ours.items() if key in theirs]


def paired(ours: Mapping[K, float], theirs: Mapping[K, float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of ours minus theirs over the keys (seeds) that both have, with the interval of the paired t-test.

    With a confidence of 0.9 it is that of two one-sided tests (TOST) at 5 %: where it lies within the margin, the two
    are equivalent (:func:`equivalence`).
    """
    return mean(differences(ours, theirs), confidence)._replace(how="paired t")


def paired_examples(ours: Sequence[float], theirs: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of ours minus theirs over examples that both were measured on, in the same order.

    Where both are 0 or 1 the interval is that of Bonett and Price (2012) for two shares of the same trials: the normal
    one, after one more pair of either kind in which they differ. It keeps its confidence where few pairs differ.
    Otherwise it is that of the paired t-test. It speaks of other examples of this kind, and of nothing else that is
    random, such as the seed of a training.

    Args:
        ours, theirs: of each example a number.
        confidence: of the interval.

    Returns:
        the interval; its ends are NaN for fewer than two examples.

    Raises:
        ValueError: not equally many of both.

    Examples:
        >>> found = paired_examples([1, 1, 1, 1, 0, 1, 1, 1], [1, 0, 1, 0, 0, 1, 1, 0])
        >>> f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}], {found.number} pairs"
        '0.375 [-0.097, 0.697], 8 pairs'
    """
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values are no pairs.")
    apart, number = a - b, len(a)
    value = float(apart.mean()) if number else math.nan
    if not np.isin([a, b], (0.0, 1.0)).all():
        error = float(apart.std(ddof=1)) / math.sqrt(number) if number > 1 else math.nan
        return Interval(value, *interval(Estimate(value, error, number), confidence), number, confidence, "paired t")
    how = "Bonett and Price"
    if number < 2:
        return Interval(value, math.nan, math.nan, number, confidence, how)
    more, fewer = (float((apart == sign).sum() + 1) / (number + 2) for sign in (1, -1))
    error = math.sqrt((more + fewer - (more - fewer) ** 2) / (number + 2))
    reach = float(_stats().norm.ppf((1 + confidence) / 2)) * error
    low, high = max(-1.0, more - fewer - reach), min(1.0, more - fewer + reach)
    return Interval(value, low, high, number, confidence, how)


def ahead_or_behind(low: float, high: float) -> Literal["ahead", "behind", "cannot be told"]:
    """Which side of zero a whole interval of ours minus theirs lies on; neither where its ends are NaN.

    Examples:
        >>> ahead_or_behind(0.1, 0.3), ahead_or_behind(-0.1, 0.3)
        ('ahead', 'cannot be told')
    """
    return "ahead" if low > 0 else "behind" if high < 0 else "cannot be told"


def equivalence(values: Collection[float], margin: float) -> float:
    """The p-value of two one-sided t-tests (TOST) of differences: small where their mean lies within +-``margin``.

    Returns:
        NaN for fewer than two values.
    """
    found = estimate(values)
    if found.number < 2:
        return math.nan
    if found.error == 0:
        return 0.0 if abs(found.mean) < margin else 1.0
    below = _stats().t.sf((found.mean + margin) / found.error, found.number - 1)
    above = _stats().t.cdf((found.mean - margin) / found.error, found.number - 1)
    return float(max(below, above))


def share(count: int, number: int, confidence: float = CONFIDENCE) -> Interval:
    """A share of independent trials with the interval of Clopper and Pearson."""
    if not number:
        return Interval(math.nan, math.nan, math.nan, 0, confidence, "Clopper and Pearson")
    ends = _stats().binomtest(count, number).proportion_ci(confidence)
    return Interval(count / number, float(ends.low), float(ends.high), number, confidence, "Clopper and Pearson")


def kendall(x: Sequence[float], y: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Kendall's tau-b of pairs, with the interval of a bootstrap over the pairs."""
    return _of_pairs(_kendall, x, y, confidence)


def spearman(x: Sequence[float], y: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Spearman's rank correlation of pairs, with the interval of a bootstrap over the pairs."""
    return _of_pairs(_spearman, x, y, confidence)


def auroc(scores: Sequence[float], positive: Sequence[bool], confidence: float = CONFIDENCE) -> Interval:
    """The area under the ROC curve: how often a positive has the larger score, ties counting half.

    The interval is that of DeLong, DeLong and Clarke-Pearson (1988), normal on the area itself and cut to [0, 1].

    Args:
        scores: any numbers. positive: which of them belong to what is to be found.
    """
    values, chosen = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    ours, others = values[chosen], values[~chosen]
    m, n = len(ours), len(others)
    how = "DeLong"
    if not (m and n):
        return Interval(math.nan, math.nan, math.nan, m + n, confidence, how)
    ranks = _stats().rankdata(np.concatenate([ours, others]))
    above = (ranks[:m] - _stats().rankdata(ours)) / n  # of each positive: the share of the others below it
    below = 1 - (ranks[m:] - _stats().rankdata(others)) / m
    area = float(above.mean())
    if min(m, n) < 2:
        return Interval(area, math.nan, math.nan, m + n, confidence, how)
    error = math.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    reach = float(_stats().norm.ppf((1 + confidence) / 2)) * error
    return Interval(area, max(0.0, area - reach), min(1.0, area + reach), m + n, confidence, how)


def _of_pairs(
    statistic: Callable[[Any, Any, Any], Any], x: Sequence[float], y: Sequence[float], confidence: float
) -> Interval:
    """A statistic of pairs with the percentiles of what it is on pairs drawn again; the same draws every time.

    A draw in which one side has a single value has no correlation and is left out.

    Args:
        statistic: (x (n,), y (n,), which pairs are drawn (draws, n)) -> its values (draws,).
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values are no pairs.")
    how = f"bootstrap, {RESAMPLES} draws"
    if len(a) < 3 or _single(a) or _single(b):
        return Interval(math.nan, math.nan, math.nan, len(a), confidence, how)
    drawn = np.random.default_rng(0).integers(len(a), size=(RESAMPLES, len(a)))
    drawn = drawn[[not (_single(a[chosen]) or _single(b[chosen])) for chosen in drawn]]
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(a, b, drawn), [tail, 1 - tail])
    (value,) = statistic(a, b, np.arange(len(a))[None])
    return Interval(float(value), float(low), float(high), len(a), confidence, how)


def _spearman(a: NDArray[Any], b: NDArray[Any], drawn: NDArray[Any]) -> list[float]:
    return [float(np.corrcoef(_stats().rankdata(a[own]), _stats().rankdata(b[own]))[0, 1]) for own in drawn]


def _kendall(a: NDArray[Any], b: NDArray[Any], drawn: NDArray[Any]) -> Any:
    """Of few pairs for all draws at once: each pair of pairs counts as often as both were drawn."""
    if len(a) > FEW:
        return [float(_stats().kendalltau(a[own], b[own]).statistic) for own in drawn]
    times = np.stack([np.bincount(own, minlength=len(a)) for own in drawn]).astype(float)
    order_a, order_b = np.sign(a[:, None] - a), np.sign(b[:, None] - b)

    def counted(orders: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = ((times @ orders) * times).sum(1)
        return found

    return counted(order_a * order_b) / np.sqrt(counted(order_a**2) * counted(order_b**2))


def _single(values: NDArray[Any]) -> bool:
    return bool((values == values[0]).all())


def _stats() -> Any:
    from scipy import stats  # half a second, and training needs none of it

    return stats
