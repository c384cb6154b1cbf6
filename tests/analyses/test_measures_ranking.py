"""How measures rank networks, by examples worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dnal.analyses.measures.ranking import flip, granulated, information, tau, worst

GRID = [{"width": width, "lr": lr, "depth": depth} for width in (8, 16, 32) for lr in (1, 2) for depth in (1, 2)]


def test_tau_is_that_of_scipy_and_leaves_out_what_is_no_number() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(size=40)
    assert tau(a, b).value == pytest.approx(stats.kendalltau(a, b).statistic)
    assert tau([1, 2, math.nan, 3, 4], [1, 2, 100, 3, math.inf]) == tau([1, 2, 3], [1, 2, 3])
    assert tau([1, 2, 3], [1, 2, 3]).value == 1


def test_granulated_by_hand() -> None:
    """Along the width (8, 16, 32) the target of one group is 1, 3, 2: two pairs right and one wrong, psi 1/3; along lr
    both pairs of the other axes agree."""
    points = [{"width": width, "lr": lr} for width in (8, 16, 32) for lr in (1, 2)]
    measure = [1, 2, 3, 4, 5, 6]
    target = [1, 1.5, 3, 3.5, 2, 2.5]
    found = granulated(measure, target, points)
    assert found.by_axis == pytest.approx({"width": 1 / 3, "lr": 1.0})
    assert found.groups == {"width": 2, "lr": 3}
    assert found.mean == pytest.approx(2 / 3)
    assert flip(found.by_axis) is None


def test_a_measure_that_counts_one_axis_can_rank_well_on_the_whole_and_wrong_along_another() -> None:
    """The paradox for which the coefficient was made: the width decides nearly everything, and the measure knows the
    width alone right."""
    target = [100 * p["width"] + 10 * p["lr"] + p["depth"] for p in GRID]
    measure = [100 * p["width"] - 10 * p["lr"] + p["depth"] for p in GRID]
    assert tau(measure, target).value > 0.5
    found = granulated(measure, target, GRID)
    assert found.by_axis == {"width": 1.0, "lr": -1.0, "depth": 1.0}
    assert found.mean == pytest.approx(1 / 3)
    turned = flip(found.by_axis)
    assert turned is not None
    assert (turned.psi_right, turned.wrong, turned.psi_wrong) == (1.0, "lr", -1.0)
    assert worst(measure, target, GRID)[0] == 1.0


def test_seeds_of_one_point_are_not_compared() -> None:
    points = [{"width": width} for width in (8, 8, 16, 16)]
    found = granulated([1, 9, 10, 11], [9, 1, 10, 11], points)
    assert found.by_axis == {"width": 1.0}
    assert math.isnan(granulated([1, 2], [2, 1], [{"width": 8}] * 2).mean)


def test_information_by_hand() -> None:
    """A measure that is the width tells of the order by the target what the width tells, and given it nothing."""
    points = [{"width": width, "lr": lr} for width in (8, 16) for lr in (1, 2)]
    target = [1.0, 2.0, 3.0, 4.0]
    assert information([8.0, 8.1, 16.0, 16.1], target, points).least == 1
    reversed_in_each = [8.1, 8.0, 16.1, 16.0]
    found = information(reversed_in_each, target, points)
    # 4 of 6 pairs right: 1 - H(1/3), both orders being as likely.
    assert found.by_set[()] == pytest.approx(1 + (2 / 3) * math.log2(2 / 3) + (1 / 3) * math.log2(1 / 3))
    # Given both widths, only the order of equal ones is not known: always the other one, which tells everything.
    assert found.by_set["width",] == pytest.approx(1.0)
    assert math.isnan(found.by_set["width", "lr"])  # then everything is known
    assert found.least == found.by_set[()]


def test_information_of_a_random_measure_is_near_nothing() -> None:
    rng = np.random.default_rng(0)
    target = rng.normal(size=len(GRID) * 4)
    found = information(rng.normal(size=len(target)), target, GRID * 4, most=1)
    assert found.by_set[()] < 0.05
    assert 0 <= found.least <= found.by_set[()]


def test_the_worst_environment_by_hand() -> None:
    points = [{"width": width, "lr": lr} for width in (8, 16, 32) for lr in (1, 2)]
    target = [1, 1, 2, 3, 3, 2]  # at lr 2 the last step falls; at width 8 the target is a tie, and does not count
    error, where = worst([1, 2, 3, 4, 5, 6], target, points)
    assert (error, where) == (1.0, {"width": 32})
    ties = worst([1, 1, 1, 1, 1, 1], target, points)
    assert ties[0] == 0.5
    assert math.isnan(worst([1], [1], [{"width": 8}])[0])
