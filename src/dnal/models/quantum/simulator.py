"""State vectors of up to ten qubits as complex tensors: gates, batches of them, and what is measured.

A state is a tensor (..., 2^n) whose leading dimensions are batches. Qubit 0 is the most significant bit of the index.
Angles may have batches of their own, which broadcast against those of the state. All of it is differentiable, twice
too, and as exact as the type of the numbers: angles of float32 make states of complex64, float64 of complex128. It
runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dnal.base.errors import UserError

LARGEST = 10
"""Qubits; a state of ten has 1,024 amplitudes."""
PAULIS = "IXYZ"


def zero_state(qubits: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    """\\|0...0>, (2^n,).

    Args:
        qubits: 1 to 10. dtype: complex.

    Raises:
        UserError: another number of qubits.

    Examples:
        >>> zero_state(1)
        tensor([1.+0.j, 0.+0.j], dtype=torch.complex128)
    """
    check_qubits(qubits)
    state = torch.zeros(2**qubits, dtype=dtype)
    state[0] = 1
    return state


def check_qubits(qubits: int) -> None:
    """Refuses what is not simulated here.

    Raises:
        UserError: fewer than 1 or more than 10 qubits.
    """
    if not 1 <= qubits <= LARGEST:
        raise UserError(f"circuits of 1 to {LARGEST} qubits are simulated, not of {qubits}; take fewer.")


def qubits_of(state: Tensor) -> int:
    """How many qubits a state (..., 2^n) has.

    Raises:
        UserError: the last dimension is no power of two from 2 to 1,024.
    """
    qubits = state.size(-1).bit_length() - 1
    if state.size(-1) != 2**qubits:
        raise UserError(f"a state has 2, 4, 8, ... amplitudes in its last dimension, not {state.size(-1)}.")
    check_qubits(qubits)
    return qubits


def rx(angle: Tensor) -> Tensor:
    """exp(-i angle X / 2): angles (...) in radians -> matrices (..., 2, 2)."""
    c, s = torch.cos(angle / 2), torch.sin(angle / 2)
    o = torch.zeros_like(c)
    return _matrix((c, o, o, c), (o, -s, -s, o))


def ry(angle: Tensor) -> Tensor:
    """exp(-i angle Y / 2): angles (...) in radians -> matrices (..., 2, 2)."""
    c, s = torch.cos(angle / 2), torch.sin(angle / 2)
    o = torch.zeros_like(c)
    return _matrix((c, -s, s, c), (o, o, o, o))


def rz(angle: Tensor) -> Tensor:
    """exp(-i angle Z / 2): angles (...) in radians -> matrices (..., 2, 2)."""
    c, s = torch.cos(angle / 2), torch.sin(angle / 2)
    o = torch.zeros_like(c)
    return _matrix((c, o, o, c), (-s, o, o, s))


def rz_ry_rx(angles: Tensor) -> Tensor:
    """RZ(c) RY(b) RX(a), RX first, as one matrix: angles (..., 3) as a, b, c -> matrices (..., 2, 2).

    Examples:
        >>> angles = torch.tensor([0.1, 0.2, 0.3])
        >>> torch.allclose(rz_ry_rx(angles), rz(angles[2]) @ ry(angles[1]) @ rx(angles[0]))
        True
    """
    (ca, cb, cc), (sa, sb, sc) = (part(angles / 2).unbind(-1) for part in (torch.cos, torch.sin))
    # RY RX is [[p, -conj q], [q, conj p]], p = cb ca + i sb sa and q = sb ca - i cb sa; RZ turns them by -+ c / 2
    pr, pi, qr, qi = cb * ca, sb * sa, sb * ca, -cb * sa
    ar, ai, br, bi = pr * cc + pi * sc, pi * cc - pr * sc, qr * cc - qi * sc, qi * cc + qr * sc
    return _matrix((ar, -br, br, ar), (ai, bi, bi, -ai))


def _matrix(real: Sequence[Tensor], imaginary: Sequence[Tensor]) -> Tensor:
    found: Tensor = torch.complex(torch.stack(list(real), -1), torch.stack(list(imaginary), -1)).unflatten(-1, (2, 2))
    return found


def apply(state: Tensor, gate: Tensor, qubit: int) -> Tensor:
    """A gate on one qubit.

    Args:
        state: (..., 2^n). gate: (..., 2, 2), such as :func:`rx` makes. qubit: from 0 to n - 1.

    Returns:
        the state afterwards, (..., 2^n).

    Raises:
        UserError: there is no such qubit.

    Examples:
        >>> from math import pi
        >>> apply(zero_state(2), ry(torch.tensor(pi, dtype=torch.float64)), 1).abs().round()
        tensor([0., 1., 0., 0.], dtype=torch.float64)
    """
    qubits = qubits_of(state)
    _check_qubit(qubit, qubits)
    split = state.unflatten(-1, (2**qubit, 2, 2 ** (qubits - 1 - qubit)))
    return torch.matmul(gate.unsqueeze(-3), split).flatten(-3)


def apply_each(state: Tensor, gates: Tensor) -> Tensor:
    """A gate on every qubit, all at once; as many of :func:`apply`, and much faster.

    The product of the gates of half of the qubits is a matrix of at most 32 x 32; two such matrices turn the state.

    Args:
        state: (..., 2^n). gates: (..., n, 2, 2), the first for qubit 0.

    Returns:
        the state afterwards, (..., 2^n).

    Raises:
        UserError: not as many gates as qubits.
    """
    qubits = qubits_of(state)
    if gates.size(-3) != qubits:
        raise UserError(f"a state of {qubits} qubits takes as many gates, not {gates.size(-3)}.")
    half = qubits // 2
    if not half:
        return torch.matmul(gates[..., 0, :, :], state.unsqueeze(-1)).squeeze(-1)
    left, right = _product(gates[..., :half, :, :]), _product(gates[..., half:, :, :])
    split = state.unflatten(-1, (2**half, -1))
    return torch.matmul(left, torch.matmul(split, right.mT)).flatten(-2)


def _product(gates: Tensor) -> Tensor:
    """Matrices (..., k, 2, 2) -> their Kronecker product (..., 2^k, 2^k)."""
    first, *others = gates.unbind(-3)
    for other in others:
        size = 2 * first.size(-1)
        grown = first[..., :, None, :, None] * other[..., None, :, None, :]
        first = grown.reshape(*grown.shape[:-4], size, size)
    return first


def cnot(state: Tensor, control: int, target: int) -> Tensor:
    """Turns the qubit ``target`` over where ``control`` is 1: (..., 2^n) -> (..., 2^n).

    Raises:
        UserError: there are no such two qubits.
    """
    return _permuted(state, ((control, target),))


def cnot_ring(state: Tensor) -> Tensor:
    """CNOT from every qubit to the next, one after the other, the last one back to qubit 0: (..., 2^n) -> (..., 2^n).

    A single qubit stays as it is, two have a CNOT each way.
    """
    qubits = qubits_of(state)
    return state if qubits == 1 else _permuted(state, tuple((one, (one + 1) % qubits) for one in range(qubits)))


def cz(state: Tensor, first: int, second: int) -> Tensor:
    """Changes the sign where both qubits are 1: (..., 2^n) -> (..., 2^n).

    Raises:
        UserError: there are no such two qubits.
    """
    qubits = qubits_of(state)
    _check_pair(first, second, qubits)
    signs = _signs(qubits, state.real.dtype)
    both = (1 - signs[:, first]) * (1 - signs[:, second]) / 4
    return state * (1 - 2 * both)


def expectation(state: Tensor, paulis: str) -> Tensor:
    """The expectation of a product of Pauli matrices.

    Args:
        state: (..., 2^n). paulis: a letter of I, X, Y, Z for each qubit, the first for qubit 0.

    Returns:
        real numbers (...) from -1 to 1.

    Raises:
        UserError: other letters, or not as many as qubits.

    Examples:
        >>> bell = cnot(apply(zero_state(2), ry(torch.tensor(torch.pi / 2, dtype=torch.float64)), 0), 0, 1)
        >>> [round(float(expectation(bell, paulis)), 6) + 0.0 for paulis in ("ZI", "ZZ", "XX", "YY")]
        [0.0, 1.0, 1.0, -1.0]
    """
    qubits = qubits_of(state)
    if len(paulis) != qubits or not set(paulis) <= set(PAULIS):
        raise UserError(f"of {qubits} qubits as many of the letters {PAULIS} are measured, not '{paulis}'.")
    signs = _signs(qubits, state.real.dtype)
    factor: Any = 1
    for one, letter in enumerate(paulis):
        if letter in "YZ":
            # of Y the row of 0 is -i, that of 1 is i
            factor = factor * signs[:, one] * (-1j if letter == "Y" else 1)
    flipped = sum(1 << (qubits - 1 - one) for one, letter in enumerate(paulis) if letter in "XY")
    turned = state[..., torch.arange(2**qubits) ^ flipped] if flipped else state
    found: Tensor = (state.conj() * factor * turned).sum(-1).real
    return found


def expectations_z(state: Tensor) -> Tensor:
    """The expectation of Z of every qubit: (..., 2^n) -> (..., n) from -1 to 1."""
    chances = state.real.square() + state.imag.square()
    return chances @ _signs(qubits_of(state), chances.dtype)


def _permuted(state: Tensor, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    qubits = qubits_of(state)
    for pair in pairs:
        _check_pair(*pair, qubits)
    return state.index_select(-1, _order(qubits, pairs))


@lru_cache(maxsize=256)
def _order(qubits: int, pairs: tuple[tuple[int, int], ...]) -> Tensor:
    """Where the amplitudes after CNOTs of these pairs come from, (2^n,)."""
    order = here = torch.arange(2**qubits)
    for control, target in pairs:
        order = order[here ^ ((here >> (qubits - 1 - control) & 1) << (qubits - 1 - target))]
    return order


@lru_cache(maxsize=32)
def _signs(qubits: int, dtype: torch.dtype) -> Tensor:
    """1 where a qubit is 0 and -1 where it is 1, (2^n, n)."""
    bits = torch.arange(2**qubits)[:, None] >> torch.arange(qubits - 1, -1, -1) & 1
    return (1 - 2 * bits).to(dtype)


def _check_qubit(qubit: int, qubits: int) -> None:
    if not 0 <= qubit < qubits:
        raise UserError(f"there are the qubits 0 to {qubits - 1}, and no qubit {qubit}.")


def _check_pair(first: int, second: int, qubits: int) -> None:
    _check_qubit(first, qubits)
    _check_qubit(second, qubits)
    if first == second:
        raise UserError(f"a gate on two qubits takes two of them, not qubit {first} twice.")
