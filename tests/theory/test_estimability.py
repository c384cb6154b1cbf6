"""Both worlds look alike, by enumeration; held against draws, closed forms, and every measure of the bank."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import pytest
import torch
from torch import nn

from dnal.analyses import generalisation
from dnal.base.errors import UserError
from dnal.theory.estimability import Law, compared, parity, same_in_both, tabular, unseen


@pytest.mark.parametrize(("points", "samples"), [(3, 0), (3, 2), (4, 2), (5, 3), (8, 4)])
def test_tabular_worlds_have_the_same_law_and_other_errors(points: int, samples: int) -> None:
    first, second = tabular(points, samples)
    found = compared(first, second)
    assert found.apart == 0
    masses = [{one: sum(own.values()) for one, own in law.items()} for law in (first, second)]
    assert masses[0] == masses[1]
    assert sum(masses[0].values()) == 1
    assert found.errors[0] == 0
    assert float(found.errors[1]) == pytest.approx(unseen(points, samples))
    assert found.errors[1] == (1 - Fraction(1, points)) ** samples / 2
    assert found.least == found.errors[1] / 2
    assert 2 * found.errors[1] >= 1 - Fraction(samples, points)


def test_the_enumerated_law_is_that_of_draws() -> None:
    """The second world as it is told: draw f, a sample, and one of the functions that agree."""
    draw = random.Random(0)
    points, samples, number = 3, 2, 30_000
    counts: dict[tuple[object, Fraction], int] = {}
    for _ in range(number):
        f, mask = draw.randrange(8), 0
        for _ in range(samples):
            mask |= 1 << draw.randrange(points)
        h = draw.choice([h for h in range(8) if (h ^ f) & mask == 0])
        key = ((mask, h), Fraction((h ^ f).bit_count(), points))
        counts[key] = counts.get(key, 0) + 1
    _, second = tabular(points, samples)
    told = {(one, error): share for one, own in second.items() for error, share in own.items()}
    assert counts.keys() == told.keys()
    for key, share in told.items():
        assert counts[key] / number == pytest.approx(float(share), abs=5 * (float(share) / number) ** 0.5)


@pytest.mark.parametrize(("bits", "samples"), [(3, 1), (3, 2), (4, 2)])
def test_parities_have_an_error_of_nothing_or_a_half_and_nothing_tells_which(bits: int, samples: int) -> None:
    first, second = parity(bits, samples)
    found = compared(first, second)
    assert found.apart == 0
    assert {error for own in first.values() for error in own} == {Fraction(0)}
    assert {error for own in second.values() for error in own} == {Fraction(0), Fraction(1, 2)}
    assert found.least == found.errors[1] / 2
    # h is a with the chance of one over those that agree, which are 2^(d - rank).
    rank = {rows: _rank(rows) for rows in itertools.product(range(2**bits), repeat=samples)}
    alike = sum(Fraction(1, 2 ** (bits - own)) for own in rank.values()) / len(rank)
    assert found.errors[1] == (1 - alike) / 2


def test_a_learner_that_prefers_a_subspace_learns_it_and_cannot_be_estimated() -> None:
    """With as many samples as bits of the subspace it mostly finds a in the one world, and fits in the other too."""
    found = compared(*parity(4, 2, subspace=2))
    assert found.errors[0] < found.errors[1]
    assert 0 < found.apart < 1
    assert found.least >= (1 - found.apart) * (found.errors[1] - found.errors[0]) / 8 > 0
    # Two random rows restricted to two bits are invertible with the chance 3/8: then any labels fit, in both worlds.
    assert found.apart <= 1 - Fraction(3, 8)


def test_where_the_sample_decides_everything_an_estimate_can_be_exact() -> None:
    first: Law = {"a": {Fraction(0): Fraction(1)}}
    second: Law = {"b": {Fraction(1, 2): Fraction(1)}}
    assert compared(first, second).least == 0
    assert compared(first, second).apart == 1


def test_every_measure_of_a_network_has_the_same_law_in_both_worlds() -> None:
    """A network of three points that says h: of each (S, h) all measures are taken, on the sample alone."""
    first, second = tabular(3, 2)
    torch.manual_seed(0)
    starts = nn.Linear(3, 2)
    eye = torch.eye(3)
    values: dict[str, dict[object, float]] = {}
    for mask, h in first:  # type: ignore[misc]
        network = nn.Linear(3, 2)
        signs = torch.tensor([1.0 if h >> point & 1 else -1.0 for point in range(3)])
        network.weight.data = torch.stack([-signs, signs]) * (1 + 0.1 * torch.arange(3))
        network.bias.data.zero_()
        seen = [point for point in range(3) if mask >> point & 1]
        labels = torch.tensor([h >> point & 1 for point in seen])
        for name, value in generalisation(network, starts, [(eye[seen], labels)]).values.items():
            values.setdefault(name, {})[mask, h] = value
    assert len(values) == 26
    assert all(same_in_both(first, second, own) for own in values.values())
    assert any(len(set(own.values())) > 4 for own in values.values()), "they tell samples and functions apart"
    # The error itself is no number of (S, h): if it were, the worlds would differ.
    error = {one: float(min(own)) for one, own in second.items()}
    assert same_in_both(first, second, error)
    assert compared(first, second).errors[0] != compared(first, second).errors[1]


def test_more_than_can_be_enumerated_is_refused() -> None:
    for make in (lambda: tabular(11, 1), lambda: tabular(10, 6), lambda: parity(8, 2), lambda: parity(3, 2, 4)):
        with pytest.raises(UserError):
            make()


def _rank(rows: tuple[int, ...]) -> int:
    """Over the field of two elements."""
    basis: list[int] = []
    for row in rows:
        for own in basis:
            row = min(row, row ^ own)
        if row:
            basis.append(row)
    return len(basis)
