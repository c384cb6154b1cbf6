import numpy as np
import pytest
import torch

from dnal.latency.grid import BLOCK, DIVISORS, Interpolation, Table, joint, knots, monotone, penalty_of

RISING = np.array([[1.0, 2.0, 5.0], [2.0, 2.5, 7.0]])
AXES = ((1.0, 16.0, 64.0), (1.0, 8.0, 32.0))


def two_axes() -> Table:
    ms = np.add.outer(np.array([1.0, 2.0, 9.0]), np.array([0.0, 0.5, 4.0]))
    return Table.of(AXES, ms)


def test_exact_at_the_grid_points_and_constant_beyond() -> None:
    table = two_axes()
    interpolation = Interpolation([table])
    for i, inner in enumerate(AXES[0]):
        for j, outer in enumerate(AXES[1]):
            assert interpolation.at((inner, outer)) == pytest.approx(table.ms[i, j])
    assert interpolation.at((0.0, 0.0)) == table.ms[0, 0]
    assert interpolation.at((1e6, 1e6)) == table.ms[-1, -1]


def test_a_bilinear_function_is_reproduced_between_the_points() -> None:
    def f(x: float, y: float) -> float:
        return 0.5 + 0.1 * x + 0.02 * y + 0.003 * x * y

    table = Table.of(AXES, np.array([[f(x, y) for y in AXES[1]] for x in AXES[0]]))
    for x, y in ((2.5, 3.25), (40.0, 31.0), (16.0, 20.0)):
        assert Interpolation([table]).at((x, y)) == pytest.approx(f(x, y))


def test_tables_of_different_axes_side_by_side() -> None:
    none = Table.of((), np.array(3.0))
    one = Table.of(((1.0, 5.0),), np.array([1.0, 2.0]))
    found = Interpolation([none, one, two_axes()])(torch.tensor([[0.0, 0.0], [3.0, 0.0], [16.0, 8.0]]).double())
    assert found.tolist() == pytest.approx([3.0, 1.5, 2.5])


def test_never_less_where_a_width_is_larger_whatever_was_measured() -> None:
    noisy = np.random.default_rng(0).random((5, 5)) + np.add.outer(np.arange(5), np.arange(5)) * 0.1
    found = monotone(noisy)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.diff(found, axis=1) >= 0).all()
    assert np.array_equal(monotone(RISING), RISING)


def test_gradient_by_finite_differences() -> None:
    interpolation = Interpolation([two_axes(), two_axes()])
    places = torch.tensor([[3.0, 2.0], [40.0, 20.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(interpolation, (places,))


def test_knots_end_at_the_whole_width_and_are_multiples() -> None:
    for width in (1, 3, 16, 24, 64, 100, 1280):
        for multiple in (1, 4, 8, 32):
            found = knots(width, multiple)
            assert found == sorted(set(found))
            assert found[-1] == width
            assert all(n % multiple == 0 for n in found[:-1])


def test_penalties_are_taken_out_of_the_knots_and_put_back_at_their_widths() -> None:
    own = (4.0, 3.0, 2.0, 1.5, 1.0)
    table = Table.of(((1.0, 16.0, 40.0),), np.array([4.0, 5.0, 15.0]), [own])
    assert table.ms.tolist() == [1.0, 5.0, 10.0]
    assert [penalty_of(own, width) for width in (7, 6, 12, 40, 48)] == list(own)
    for multiple, mean in ((BLOCK, 1.0), (1, 4 / 2 + 3 / 4 + 2 / 8 + 1.5 / 16 + 1 / 16)):
        widths = [multiple * k for k in range(1, BLOCK + 1)]
        assert joint([own], [[widths]]).tolist() == pytest.approx([mean])
    expected = table.expected(16)
    assert expected.ms[-1] == 15  # of the whole network: what was measured
    assert len(own) == len(DIVISORS)


def test_the_axis_that_suits_the_kernels_least_decides() -> None:
    """As on a GPU whose fast kernels want multiples of 8 on both sides: what does not suit them takes half as long
    again, whichever side it is, or both."""
    own = (1.5, 1.5, 1.5, 1.0, 1.0)
    knots_of_axis = (1.0, 16.0, 32.0)
    slow = np.array([[1.5, 1.5, 1.5], [1.5, 1.0, 1.0], [1.5, 1.0, 1.0]])
    plain = np.outer(knots_of_axis, knots_of_axis)
    table = Table.of((knots_of_axis, knots_of_axis), plain * slow, [own, own])
    assert table.ms.tolist() == plain.tolist()
    # of the widths up to a block seven in eight are slow
    mean = table.expected(1).ms / plain
    assert mean[0, 0] == pytest.approx(1.5 - 0.5 * (1 / 8) ** 2)
    assert mean[0, 2] == pytest.approx(1.5 - 0.5 / 8)
    assert mean[2, 2] == 1
