"""What a circuit makes of one number as a trigonometric sum, and as Chebyshev polynomials of its cosine.

cos(w x) = T_w(cos x) and sin(w x) = sin(x) U_{w-1}(cos x): who wants to know x of values of such sums has polynomial
equations whose degree is the highest frequency.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dnal.base.errors import UserError


def first_kind(degree: int, u: Tensor) -> Tensor:
    """T_0 to T_degree at u: (...) -> (..., degree + 1).

    Examples:
        >>> first_kind(3, torch.tensor(0.5))
        tensor([ 1.0000,  0.5000, -0.5000, -1.0000])
    """
    return _recurrence(degree, u, u)


def second_kind(degree: int, u: Tensor) -> Tensor:
    """U_0 to U_degree at u: (...) -> (..., degree + 1).

    Examples:
        >>> second_kind(3, torch.tensor(0.5))
        tensor([ 1.,  1.,  0., -1.])
    """
    return _recurrence(degree, u, 2 * u)


def _recurrence(degree: int, u: Tensor, second: Tensor) -> Tensor:
    """p_{k+1} = 2 u p_k - p_{k-1} from 1 and the second one."""
    if degree < 0:
        raise UserError(f"a degree is 0 or more, not {degree}.")
    found = [torch.ones_like(u), second]
    for _ in range(degree - 1):
        found.append(2 * u * found[-1] - found[-2])
    return torch.stack(found[: degree + 1], -1)


def fourier(function: Callable[[Tensor], Tensor], highest: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """The coefficients c_w of sum c_w exp(i w x), by FFT of 2 highest + 1 values.

    Args:
        function: of numbers (P,) -> real values (P, ...), with period 2 pi and no frequency above ``highest``; others
            would be taken for lower ones.

    Returns:
        complex (2 highest + 1, ...), from w = -highest to highest.

    Raises:
        UserError: ``highest`` is negative.

    Examples:
        >>> fourier(lambda x: torch.cos(2 * x), 2).real.round(decimals=6).abs()
        tensor([0.5000, 0.0000, 0.0000, 0.0000, 0.5000], dtype=torch.float64)
    """
    if highest < 0:
        raise UserError(f"the highest frequency is 0 or more, not {highest}.")
    points = 2 * highest + 1
    values = function(2 * torch.pi * torch.arange(points, dtype=dtype) / points)
    found: Tensor = torch.fft.fftshift(torch.fft.fft(values, dim=0), dim=0) / points
    return found


def polynomial(coefficients: Tensor, x: Tensor) -> Tensor:
    """The real function with these coefficients, by Chebyshev polynomials of cos x.

    Args:
        coefficients: complex (2 K + 1,), as :func:`fourier` gives them. x: (...), in radians.

    Returns:
        (...): c_0 + sum over w = 1 .. K of 2 Re(c_w) T_w(cos x) - 2 Im(c_w) sin(x) U_{w-1}(cos x).

    Raises:
        UserError: an even number of coefficients.
    """
    highest, odd = divmod(coefficients.size(0), 2)
    if not odd:
        raise UserError("there are coefficients of -K to K, so that their number is odd.")
    middle, above = coefficients[highest].real.expand_as(x), coefficients[highest + 1 :]
    if not highest:
        return middle
    u = torch.cos(x)
    even = first_kind(highest, u)[..., 1:] @ (2 * above.real)
    return middle + even - torch.sin(x) * (second_kind(highest - 1, u) @ (2 * above.imag))
