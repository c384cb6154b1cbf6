"""Why no number that is computed of the training sample and the network can be a tight bound of its error everywhere.

Two worlds are built in which the sample S and the hypothesis h that fits it have the same law, and the error of h does
not: whatever is computed of (S, h), a norm, a margin, a flatness, has the same law in both, and is off in one of them.
The laws are enumerated, with whole numbers. Source: Gastpar, Nachum, Shafer and Weinberger, Fantastic Generalization
Measures are Nowhere to be Found, arXiv 2309.13658; the constructions follow the referees' restatements of its theorems,
the constants are computed here.

It is about bounds that hold for every algorithm and every distribution with a perfect rule, in a strict sense of
over-parameterised: the sample leaves most of the function open. That a measure correlates with the error over networks
that people train is not excluded by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dnal.base.errors import UserError

Law = dict[Hashable, dict[Fraction, Fraction]]
"""The law of what is seen, (S, h), and of the error of h: (S, h) -> error -> probability."""
MOST_POINTS, MOST_DRAWS, MOST_BITS = 10, 2**17, 16
"""What is enumerated at most: points of a domain, samples of it, and bits of a parity and its sample."""


class Worlds(NamedTuple):
    """Two worlds and what can be told of them.

    Attributes:
        apart: the total variation between the laws of (S, h): 0 where nothing tells the worlds apart.
        errors: the expected error of h in the first and in the second world.
        least: the least mean absolute error, over both worlds alike, of any estimate of the error from (S, h): in one
            of them every estimate is off by that much or more.
        states: pairs (S, h) that were enumerated.
    """

    apart: Fraction
    errors: tuple[Fraction, Fraction]
    least: Fraction
    states: int


def compared(first: Law, second: Law) -> Worlds:
    """What two laws say of each other.

    Examples:
        >>> half = Fraction(1, 2)
        >>> found = compared({"s": {Fraction(0): Fraction(1)}}, {"s": {Fraction(0): half, half: half}})
        >>> found.apart, found.errors, found.least
        (Fraction(0, 1), (Fraction(0, 1), Fraction(1, 4)), Fraction(1, 8))
    """
    masses: dict[int, Fraction] = {}
    means: dict[int, Fraction] = {}
    leasts: dict[tuple[int, int], Fraction] = {}
    none: dict[Fraction, Fraction] = {}
    apart, least, errors = Fraction(0), Fraction(0), [Fraction(0), Fraction(0)]
    for one in first.keys() | second.keys():
        pair = first.get(one, none), second.get(one, none)
        for world, own in enumerate(pair):  # many (S, h) share one: it is summed once
            if id(own) not in masses:
                masses[id(own)] = sum(own.values(), Fraction(0))
                means[id(own)] = sum((value * share for value, share in own.items()), Fraction(0))
            errors[world] += means[id(own)]
        key = id(pair[0]), id(pair[1])
        if key not in leasts:
            leasts[key] = _least(pair)
        least += leasts[key]
        apart += abs(masses[key[0]] - masses[key[1]])
    return Worlds(apart / 2, (errors[0], errors[1]), least / 2, len(first.keys() | second.keys()))


def tabular(points: int, samples: int) -> tuple[Law, Law]:
    """Functions on a few points, each labelled 0 or 1 on its own.

    The function f is uniform, the points of the sample are uniform and independent. In the first world the learner
    returns f, in the second a function drawn from all that agree with f on the sample. Both fit the sample; both are
    learners that a bound for all must cover.

    Args:
        points: d, up to 10. samples: n.

    Returns:
        the laws of both worlds; (S, h) is here the set of points in the sample, as bits, and the labels of h: their
        order in the sample is as likely in both, and the labels of the sample are those of h.

    Raises:
        UserError: more than is enumerated.

    Examples:
        >>> found = compared(*tabular(8, 4))
        >>> found.apart, [round(float(error), 4) for error in found.errors], found.least == found.errors[1] / 2
        (Fraction(0, 1), [0.0, 0.2931], True)
    """
    if not (1 <= points <= MOST_POINTS and samples >= 0 and points**samples <= MOST_DRAWS):
        raise UserError(f"up to {MOST_POINTS} points and {MOST_DRAWS:,} samples are enumerated; give fewer.")
    sets: dict[int, int] = {}
    for drawn in itertools.product(range(points), repeat=samples):
        mask = 0
        for point in drawn:
            mask |= 1 << point
        sets[mask] = sets.get(mask, 0) + 1
    labels = np.arange(2**points)
    differ = labels[:, None] ^ labels[None, :]  # f, h
    errors = np.array([int(bits).bit_count() for bits in labels])
    first: Law = {}
    second: Law = {}
    for mask, times in sets.items():
        chance = Fraction(times, points**samples) / 2**points
        returned = {Fraction(0): chance}
        known: dict[bytes, dict[Fraction, Fraction]] = {}
        for h in range(2**points):
            first[mask, h] = returned
            # Every f that agrees with h on the sample has the same number of functions that agree with it there.
            agrees = (differ[h] & mask) == 0
            wrong = np.bincount(errors[differ[h][agrees]])
            if wrong.tobytes() not in known:
                chances = {Fraction(k, points): chance * int(n) / int(agrees.sum()) for k, n in enumerate(wrong) if n}
                known[wrong.tobytes()] = chances
            second[mask, h] = known[wrong.tobytes()]
    return first, second


def parity(bits: int, samples: int, subspace: int | None = None) -> tuple[Law, Law]:
    """Parities: functions x -> <a, x> modulo 2, of which two that differ do so on half of all x.

    Without ``subspace`` as :func:`tabular`: a is uniform, and the learner returns a, or one drawn from all that agree
    with it on the sample. With it there is a single learner, which prefers functions of the first ``subspace`` bits:
    it draws from those that fit the sample, and from all that fit only where there are none. In the first world a is
    one of them, in the second it is any.

    Args:
        bits: d. samples: n, uniform and independent; bits times (samples + 1) up to 16. subspace: k,
            up to d.

    Returns:
        the laws of both worlds; S as rows of bits and their labels.

    Raises:
        UserError: more than is enumerated.

    Examples:
        >>> found = compared(*parity(4, 2))
        >>> found.apart, found.errors[0], sorted({error for own in parity(4, 2)[1].values() for error in own})
        (Fraction(0, 1), Fraction(0, 1), [Fraction(0, 1), Fraction(1, 2)])
    """
    if not (bits >= 1 and samples >= 0 and bits * (samples + 1) <= MOST_BITS):
        raise UserError(f"bits times one more than samples up to {MOST_BITS} are enumerated; give fewer.")
    if subspace is not None and not 0 <= subspace <= bits:
        raise UserError(f"a subspace has from 0 to {bits} bits, not {subspace}.")
    functions = range(2**bits)
    preferred = functions if subspace is None else range(2**subspace)
    chance = Fraction(1, 2 ** (bits * samples))
    first: Law = {}
    second: Law = {}
    for rows in itertools.product(functions, repeat=samples):
        fitting: dict[tuple[int, ...], list[int]] = {}
        for a in functions:
            fitting.setdefault(_labels(a, rows), []).append(a)
        for labels, fit in fitting.items():
            own = [h for h in fit if h in preferred]
            for h in own or fit:
                if subspace is None:
                    first[rows, labels, h] = _drawn(chance / len(functions), 1, 1)
                elif own:
                    first[rows, labels, h] = _drawn(chance / len(preferred), len(own), len(own))
                second[rows, labels, h] = _drawn(chance / len(functions), len(fit), len(own or fit))
    return first, second


def unseen(points: int, samples: int) -> float:
    """The error of a function that agrees on the sample and is drawn elsewhere: (1 - 1 / d)^n / 2.

    Examples:
        >>> round(unseen(8, 4), 4)
        0.2931
    """
    return (1 - 1 / points) ** samples / 2


def same_in_both(first: Law, second: Law, measure: Mapping[Hashable, float]) -> bool:
    """Whether a number of (S, h) has the same law in both worlds.

    Args:
        measure: its value for each (S, h).

    Examples:
        >>> first, second = tabular(3, 2)
        >>> same_in_both(first, second, {one: hash(one) % 7 for one in first})
        True
    """
    return _of_values(first, measure) == _of_values(second, measure)


def _of_values(law: Law, measure: Mapping[Hashable, float]) -> dict[float, Fraction]:
    found: dict[float, Fraction] = {}
    for one in law:
        found[measure[one]] = found.get(measure[one], Fraction(0)) + _mass(law, one)
    return found


def _mass(law: Law, one: Hashable) -> Fraction:
    return sum(law.get(one, {}).values(), Fraction(0))


def _least(errors: Sequence[Mapping[Fraction, Fraction]]) -> Fraction:
    """The least expected distance of a number to errors that come with these masses: that of their median."""
    joint: dict[Fraction, Fraction] = {}
    for own in errors:
        for value, share in own.items():
            joint[value] = joint.get(value, Fraction(0)) + share
    below, half = Fraction(0), sum(joint.values(), Fraction(0)) / 2
    for median in sorted(joint):
        below += joint[median]
        if below >= half:
            break
    return sum((abs(value - median) * share for value, share in joint.items()), Fraction(0))


def _labels(a: int, rows: Sequence[int]) -> tuple[int, ...]:
    return tuple((a & row).bit_count() % 2 for row in rows)


@lru_cache(maxsize=4096)
def _drawn(chance: Fraction, functions: int, chosen: int) -> dict[Fraction, Fraction]:
    """The law of the error of one hypothesis: each of so many functions is true with this chance, it is one of them,
    and it is drawn among the chosen ones."""
    each = chance / chosen
    others = {Fraction(1, 2): each * (functions - 1)} if functions > 1 else {}
    return {Fraction(0): each, **others}
