"""How well a measure ranks networks by something else, such as their gap to the test accuracy."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dnal.base.statistics import Interval, kendall

Point = Mapping[str, Hashable]
"""How a network was trained: the value of each axis (width, learning rate, ...)."""


class Granulated(NamedTuple):
    """Kendall's rank correlation where a single axis varies.

    Attributes:
        mean: of the axes, Psi. by_axis: psi, NaN where nothing can be compared along it. groups: how many of each axis
            were compared.
    """

    mean: float
    by_axis: dict[str, float]
    groups: dict[str, int]


class Information(NamedTuple):
    """What the order by a measure tells of the order by the target.

    Attributes:
        least: the smallest over what is conditioned on, K: 0 where the measure tells nothing that those axes did not;
            1 where it tells everything. by_set: for each set of axes; the empty one first.
    """

    least: float
    by_set: dict[tuple[str, ...], float]


class Flip(NamedTuple):
    """An axis along which a measure ranks right, and one along which it ranks wrong."""

    right: str
    psi_right: float
    wrong: str
    psi_wrong: float


def tau(measure: Sequence[float], target: Sequence[float]) -> Interval:
    """Kendall's tau-b of a measure and the target over networks, where both are finite, with an interval over the
    networks. 1: it orders them as the target does.

    Examples:
        >>> tau([1, 2, 3, 4], [10, 30, 20, 40]).value  # one of six pairs is the wrong way round
        0.6666666666666666
    """
    kept = [(a, b) for a, b in zip(measure, target, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return kendall([a for a, _ in kept], [b for _, b in kept])


def granulated(measure: Sequence[float], target: Sequence[float], points: Sequence[Point]) -> Granulated:
    """The granulated Kendall coefficient of Jiang et al., arXiv 1912.02178.

    Networks that differ in a single axis make a group; psi of the axis is the mean over its groups of the share of
    pairs that both order alike minus that of those they order otherwise; Psi is the mean over the axes. Pairs with
    equal values of the axis, as of two seeds, are not compared, and ties count as neither.

    Args:
        measure, target: of N networks. points: how each was trained, the same axes in all.

    Examples:
        >>> points = [{"width": w, "lr": lr} for w in (8, 16) for lr in (0.1, 0.2)]
        >>> found = granulated([1, 2, 3, 4], [1, 2, 0, 1], points)
        >>> found.by_axis, found.mean  # right along lr, wrong along width
        ({'width': -1.0, 'lr': 1.0}, 0.0)
    """
    by_axis, groups = {}, {}
    for axis in _axes(points):
        found = []
        for group in _groups(points, [other for other in _axes(points) if other != axis]):
            pairs = [(i, j) for i, j in combinations(group, 2) if points[i][axis] != points[j][axis]]
            signs = [by_measure * by_target for by_measure, by_target in _signs(measure, target, pairs)]
            if signs:
                found.append(sum(signs) / len(signs))
        groups[axis] = len(found)
        by_axis[axis] = sum(found) / len(found) if found else math.nan
    told = [value for value in by_axis.values() if not math.isnan(value)]
    return Granulated(sum(told) / len(told) if told else math.nan, by_axis, groups)


def information(
    measure: Sequence[float], target: Sequence[float], points: Sequence[Point], most: int = 2
) -> Information:
    """The conditional mutual information of Jiang et al., arXiv 1912.02178, between the order of two networks by a
    measure and by the target, given the values of some axes in both, over the entropy of the order by the target.

    Pairs are ordered, so that both orders are as likely. Pairs that are a tie in either are left out.

    Args:
        measure, target, points: as of :func:`granulated`. most: axes that are conditioned on together.

    Returns:
        values between 0 and 1; NaN of axes given which the order by the target is known already.

    Examples:
        >>> points = [{"width": w, "seed": s} for w in (8, 16) for s in (0, 1)]
        >>> information([1, 2, 3, 4], [1, 2, 3, 4], points).least
        1.0
        >>> round(information([1, 2, 3, 4], [2, 1, 3, 4], points).by_set[()], 3)  # 5 of 6 pairs: 1 - H(1/6)
        0.35
    """
    axes = _axes(points)
    pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if i != j]
    told = [(i, j, a, b) for (i, j), (a, b) in zip(pairs, _signs(measure, target, pairs), strict=True) if a and b]
    by_set = {}
    for size in range(min(most, len(axes)) + 1):
        for chosen in combinations(axes, size):
            cells: dict[Hashable, list[tuple[int, int]]] = {}
            for i, j, a, b in told:
                values = tuple((points[i][axis], points[j][axis]) for axis in chosen)
                cells.setdefault(values, []).append((a, b))
            by_set[chosen] = _normalised(list(cells.values()))
    known = [value for value in by_set.values() if not math.isnan(value)]
    return Information(min(known, default=math.nan), by_set)


def worst(measure: Sequence[float], target: Sequence[float], points: Sequence[Point]) -> tuple[float, Point]:
    """The largest share of wrongly ordered pairs in an environment, and that environment: Dziugaite et al., arXiv
    2010.11924.

    An environment is an axis and the values of all others; the pairs in it differ along the axis. A robust measure
    keeps this low everywhere; one that ranks by chance has a half on average and mostly 1 here. Ties of the target do
    not count, those of the measure count half.

    Returns:
        NaN and nothing where there is no pair.

    Examples:
        >>> points = [{"width": w, "lr": lr} for w in (8, 16) for lr in (0.1, 0.2)]
        >>> worst([1, 2, 3, 4], [1, 2, 0, 1], points)
        (1.0, {'lr': 0.1})
    """
    found: list[tuple[float, Point]] = []
    for axis in _axes(points):
        others = [other for other in _axes(points) if other != axis]
        for group in _groups(points, others):
            pairs = [(i, j) for i, j in combinations(group, 2) if points[i][axis] != points[j][axis]]
            wrong = [(1 - a * b) / 2 for a, b in _signs(measure, target, pairs) if b]
            if wrong:
                found.append((sum(wrong) / len(wrong), {other: points[group[0]][other] for other in others}))
    return max(found, key=lambda one: one[0], default=(math.nan, {}))


def flip(by_axis: Mapping[str, float], least: float = 0.0) -> Flip | None:
    """The axis along which a measure ranks best and the one where it ranks worst, if the one is right and the other
    wrong by more than ``least``; None where all have the same sign.

    Examples:
        >>> flip({"width": -0.6, "lr": 0.8})
        Flip(right='lr', psi_right=0.8, wrong='width', psi_wrong=-0.6)
    """
    told = {axis: value for axis, value in by_axis.items() if not math.isnan(value)}
    if not told:
        return None
    best, worst_one = max(told, key=told.__getitem__), min(told, key=told.__getitem__)
    if told[best] <= least or told[worst_one] >= -least:
        return None
    return Flip(best, told[best], worst_one, told[worst_one])


def _axes(points: Sequence[Point]) -> list[str]:
    """Those that have more than one value."""
    return [axis for axis in (points[0] if points else {}) if len({point[axis] for point in points}) > 1]


def _groups(points: Sequence[Point], fixed: Sequence[str]) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for place, point in enumerate(points):
        groups.setdefault(tuple(point[axis] for axis in fixed), []).append(place)
    return list(groups.values())


def _signs(
    measure: Sequence[float], target: Sequence[float], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Which of each pair is larger by both: -1, 0 or 1; a number that is none is larger than nothing."""
    for i, j in pairs:
        yield _sign(measure[i], measure[j]), _sign(target[i], target[j])


def _sign(one: float, other: float) -> int:
    return int(one > other) - int(one < other)


def _normalised(cells: Sequence[Sequence[tuple[int, int]]]) -> float:
    """I(a; b | cell) / H(b | cell) of signs; NaN where b is known from the cell."""
    total = sum(len(cell) for cell in cells)
    if not total:
        return math.nan
    shared = entropy = 0.0
    for cell in cells:
        joint = np.zeros((2, 2))
        for a, b in cell:
            joint[(a + 1) // 2, (b + 1) // 2] += 1
        joint /= joint.sum()
        share = len(cell) / total
        own = _entropy(joint.sum(0))
        entropy += share * own
        shared += share * (own + _entropy(joint.sum(1)) - _entropy(joint.ravel()))
    return max(0.0, shared / entropy) if entropy > 0 else math.nan


def _entropy(probabilities: NDArray[np.float64]) -> float:
    kept = probabilities[probabilities > 0]
    return float(-(kept * np.log2(kept)).sum())
