"""Exact mixtures against fractions and closed forms, the table of the card, and the bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from scipy.special import betaln

from dnal.base.errors import UserError
from dnal.theory.mixtures import density, divergence, predict, regret, regret_bound, weight_of

TABLE = [
    (1, 0.5, (0.050, 0.016, 0.0028), (0.167, 0.028, 0.0040)), (1, 0.9, (0.120, 0.021, 0.0032), (0.218, 0.033, 0.0045)),
    (16, 0.5, (0.0009, 0.0022, 0.0011), (0.038, 0.012, 0.0023)), (16, 0.9, (0.320, None, None), (0.430, None, None)),
    (64, 0.5, (0.0001, 0.0003, 0.0004), (0.015, 0.006, 0.0016)), (64, 0.9, (0.368, None, None), (0.434, None, None)),
]  # fmt: skip
"""Regret and bound at n = 10, 100, 1000; None: where the card's 200,000 samples of the prior cannot reach."""


def of_fractions(x: Fraction, number: int) -> float:
    """The density of a mean of uniform numbers by the alternating sum, exactly."""
    s = x * number
    terms = (Fraction((-1) ** j * math.comb(number, j)) * (s - j) ** (number - 1) for j in range(math.floor(s) + 1))
    return float(number * sum(terms) / math.factorial(number - 1))


@pytest.mark.parametrize("number", [1, 2, 5, 16, 64])
def test_the_prior_is_that_of_exact_sums_also_far_in_its_tail(number: int) -> None:
    points = [Fraction(1, 64), Fraction(1, 10), Fraction(37, 100), Fraction(1, 2), Fraction(9, 10)]
    expected = [of_fractions(point, number) for point in points]
    assert density([float(point) for point in points], number) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("truth", "samples"), [(0.5, 10), (0.9, 100), (0.03, 57)])
def test_with_one_weight_it_is_the_beta_integral(truth: float, samples: int) -> None:
    heads = np.arange(samples + 1)
    own = heads * math.log(truth) + (samples - heads) * math.log(1 - truth)
    lost = own - betaln(heads + 1, samples - heads + 1)
    expected = stats.binom.pmf(heads, samples, truth) @ lost / samples
    assert regret(truth, 1, samples) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("number", "truth", "regrets", "bounds"), TABLE)
def test_known_table(
    number: int, truth: float, regrets: tuple[float | None, ...], bounds: tuple[float | None, ...]
) -> None:
    for samples, known, bound in zip((10, 100, 1000), regrets, bounds, strict=True):
        found, above = regret(truth, number, samples), regret_bound(truth, number, samples)
        assert 0 <= found <= above.value
        if known is not None and bound is not None:
            assert found == pytest.approx(known, abs=0.17 / samples)  # the card's are simulated
            assert above.value == pytest.approx(bound, rel=0.03, abs=5e-4)


@pytest.mark.parametrize("truth", [0.5, 0.9])
def test_with_few_tosses_it_is_that_of_samples_of_the_prior(truth: float) -> None:
    drawn = np.random.default_rng(0).random((20_000, 64)).mean(1)
    heads = np.arange(11)
    own = heads * math.log(truth) + (10 - heads) * math.log(1 - truth)
    mixed = np.log([(drawn**k * (1 - drawn) ** (10 - k)).mean() for k in range(11)])
    assert regret(truth, 64, 10) == pytest.approx(stats.binom.pmf(heads, 10, truth) @ (own - mixed) / 10, abs=1e-3)


def test_samples_of_the_prior_overstate_the_regret_of_what_they_never_hit() -> None:
    """The same mixture over 200,000 draws, as the card has it: .166; the tail that no draw reaches halves it."""
    drawn = np.random.default_rng(0).random((20_000, 64)).mean(1)
    logs = 900 * np.log(drawn) + 100 * np.log1p(-drawn)
    sampled = (
        900 * math.log(0.9) + 100 * math.log(0.1) - logs.max() - math.log(np.exp(logs - logs.max()).mean())
    ) / 1000
    assert regret(0.9, 64, 1000) < 0.6 * sampled


def test_more_parameters_help_the_simple_coin_and_hurt_the_other() -> None:
    simple, complex_ = ([regret(truth, number, 200) for number in (1, 4, 16)] for truth in (0.5, 0.9))
    assert simple == sorted(simple, reverse=True)
    assert complex_ == sorted(complex_)


@pytest.mark.parametrize(("truth", "number"), [(0.5, 1), (0.9, 4), (0.5, 16)])
def test_the_weight_of_a_hypothesis_is_what_the_prior_hits(truth: float, number: int) -> None:
    drawn = np.random.default_rng(0).random((40_000, number)).mean(1)
    for resolution in (0.01, 0.1, 5.0):
        hit = (divergence(truth, drawn) <= resolution).mean()
        assert weight_of(truth, number, resolution) == pytest.approx(hit, abs=0.012)


def test_a_mixture_weighs_by_what_was_said_of_the_samples() -> None:
    rng = np.random.default_rng(0)
    said, next_ = rng.random((6, 4)), rng.random((6, 3))
    found = predict(np.log(said).sum(1), next_)
    assert found.mixture == pytest.approx((said.prod(1) @ next_) / said.prod(1).sum())
    assert (found.single == next_[said.prod(1).argmax()]).all()


@pytest.mark.parametrize(
    "asked",
    [
        lambda: regret(1.0, 1, 5), lambda: regret(0.5, 0, 5), lambda: weight_of(0.5, 1, 0.0), lambda: density([0.5], 0),
        lambda: predict(np.zeros(2), np.zeros((3, 1))),
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(asked: Callable[[], object]) -> None:
    with pytest.raises(UserError):
        asked()
