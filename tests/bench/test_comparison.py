"""Means, errors and intervals against numpy and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dnal.base.statistics import estimate, interval
from dnal.bench.comparison import paired, pooled, spread

OURS = np.array([64.6, 65.1, 63.9, 66.0])
THEIRS = np.array([62.0, 64.8, 63.0, 63.1])


def test_paired_is_the_paired_t_test() -> None:
    found = paired(dict(enumerate(OURS)), dict(enumerate(THEIRS)) | {9: 1.0})
    gap = OURS - THEIRS
    assert found.mean == pytest.approx(gap.mean())
    assert found.error == pytest.approx(stats.sem(gap))
    assert found.number == 4
    test = stats.ttest_rel(OURS, THEIRS)
    assert found.mean / found.error == pytest.approx(test.statistic)
    low, high = test.confidence_interval(0.95)
    assert interval(found) == pytest.approx((low, high))


def test_what_shares_a_base_is_one_observation() -> None:
    ours = {("a", 25): 70.0, ("a", 10): 60.0, ("b", 25): 71.0, ("b", 10): 62.0, ("c", 25): 69.0}
    theirs = {("a", 25): 69.0, ("a", 10): 57.0, ("b", 25): 70.5, ("b", 10): 60.5, ("d", 25): 1.0}
    found = pooled(ours, theirs)
    gaps = np.array([2.0, 1.0])  # the means of (1, 3) and of (.5, 1.5)
    assert (found.mean, found.number) == (1.5, 2)
    assert found.error == pytest.approx(stats.sem(gaps))
    assert interval(found) == pytest.approx(stats.t.interval(0.95, 1, 1.5, stats.sem(gaps)))


def test_one_value_has_no_error_and_none_no_mean() -> None:
    assert estimate([3.0]).mean == 3.0
    assert math.isnan(estimate([3.0]).error)
    assert math.isnan(estimate([]).mean)
    assert all(math.isnan(end) for end in interval(estimate([3.0])))
    assert spread([1.0, 3.0]) == pytest.approx(np.std([1, 3], ddof=1))
