"""The line search for the strength of new neurons."""

from __future__ import annotations

import pytest

from dnal.methods.growing.one_growth import best_amplitude


@pytest.mark.parametrize("where", [0.001, 0.3, 1.0, 7.0, 100.0, -0.3])
def test_it_finds_the_lowest_loss_within_a_factor_of_two(where: float) -> None:
    amplitude, loss = best_amplitude(lambda amplitude: (amplitude / where - 1) ** 2)
    assert 0.5 <= amplitude / where <= 2
    assert loss == (amplitude / where - 1) ** 2


def test_what_helps_at_no_amplitude_has_none() -> None:
    assert best_amplitude(abs) == (0.0, 0.0)
    assert best_amplitude(lambda amplitude: float("nan") if amplitude else 1.0) == (0.0, 1.0)
