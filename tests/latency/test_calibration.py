import numpy as np
import pytest

from dnal.latency.calibration import calibrated


def test_known_factors_and_constant_are_found() -> None:
    sums = np.random.default_rng(0).uniform(1, 10, (200, 3))
    factors, constant = calibrated(sums, sums @ np.array([1.2, 1.1, 1.3]) + 0.5)
    assert factors == pytest.approx([1.2, 1.1, 1.3], rel=0.05)
    assert constant == pytest.approx(0.5, rel=0.5)


def test_nothing_is_negative_and_a_class_without_layers_takes_the_common_factor() -> None:
    sums = np.array([[10.0, 1.0, 0.0], [20.0, 0.1, 0.0], [5.0, 2.0, 0.0], [8.0, 0.5, 0.0]])
    factors, constant = calibrated(sums, 2 * sums[:, 0])
    assert (factors >= 0).all()
    assert constant >= 0
    assert factors[2] == pytest.approx(2, rel=0.2)


def test_one_network_is_enough_for_a_common_factor() -> None:
    sums = np.array([[3.0, 1.0]])
    factors, constant = calibrated(sums, np.array([8.0]))
    assert sums @ factors + constant == pytest.approx([8.0], rel=0.01)


def test_a_weight_is_how_often_a_network_counts() -> None:
    rng = np.random.default_rng(1)
    sums, measured = rng.uniform(1, 10, (6, 2)), rng.uniform(3, 20, 6)
    often = np.array([1, 3, 1, 2, 1, 1])
    weighted = calibrated(sums, measured, often.astype(float))
    repeated = calibrated(sums.repeat(often, axis=0), measured.repeat(often))
    assert weighted[0] == pytest.approx(repeated[0])
    assert weighted[1] == pytest.approx(repeated[1])
