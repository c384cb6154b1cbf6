"""The Fourier tower: numbers into qubits, each turned by another power of a base."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from dnal.base.errors import UserError
from dnal.models.quantum.simulator import check_qubits


def encode(x: Tensor, per_input: int, base: int = 3) -> Tensor:
    """|0...0> turned by RX(base^j x_k) on qubit k * per_input + j, for j from 0: numbers into a product state.

    Args:
        x: (..., N), in radians; within [0, pi] different numbers are different states.
        per_input: qubits of each number. base: 3 gives the most frequencies without gaps, 1 the fewest
            (:func:`frequencies`).

    Returns:
        the state (..., 2^(N per_input)).

    Raises:
        UserError: a base below 1, or more than 10 qubits.

    Source:
        Kumar et al., arXiv 2309.13002; the form of the map is recalled.

    Examples:
        >>> encode(torch.zeros(1, dtype=torch.float64), 2).real
        tensor([1., 0., 0., 0.], dtype=torch.float64)
    """
    _check(per_input, base)
    check_qubits(x.size(-1) * per_input)
    powers = torch.tensor([float(base**power) for power in range(per_input)], dtype=x.dtype, device=x.device)
    half = (x[..., None] * powers).flatten(-2) / 2
    c, s = torch.cos(half), torch.sin(half)
    zero = torch.zeros_like(c)
    single = torch.stack([torch.complex(c, zero), torch.complex(zero, -s)], -1)
    first, *others = single.unbind(-2)
    for other in others:
        first = (first[..., :, None] * other[..., None, :]).flatten(-2)
    return first


def frequencies(per_input: int, base: int = 3) -> list[int]:
    """The integer frequencies that an expectation can have in one number, ascending: sums of -1, 0 or 1 times each
    power of the base.

    3^per_input of them where the base is 3 or more, without gaps at 3; two of the powers of 2 can make the same sum; at
    base 1 there are 2 per_input + 1.

    Args:
        per_input: qubits of each number. base: 1 or more.

    Raises:
        UserError: a base below 1, or no qubit.

    Examples:
        >>> frequencies(2, base=3), frequencies(2, base=2), frequencies(2, base=1)
        ([-4, -3, -2, -1, 0, 1, 2, 3, 4], [-3, -2, -1, 0, 1, 2, 3], [-2, -1, 0, 1, 2])
    """
    _check(per_input, base)
    return sorted(
        {sum(sign * base**power for power, sign in enumerate(signs)) for signs in product((-1, 0, 1), repeat=per_input)}
    )


def highest_frequency(per_input: int, base: int = 3) -> int:
    """The largest of the :func:`frequencies`: 1 + base + ... + base^(per_input - 1)."""
    _check(per_input, base)
    return sum(base**power for power in range(per_input))


def _check(per_input: int, base: int) -> None:
    if per_input < 1 or base < 1:
        raise UserError(f"a number has 1 qubit or more and the base is 1 or more, not {per_input} and {base}.")
