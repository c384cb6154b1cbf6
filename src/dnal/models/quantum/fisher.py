"""The quantum Fisher matrix of a circuit: in how many directions its parameters move the states."""

from __future__ import annotations

import torch
from torch import Tensor

from dnal.models.quantum.circuit import Circuit


def fisher(circuit: Circuit, parameters: Tensor, x: Tensor) -> Tensor:
    """`4 Re(<d_i s | d_j s> - <d_i s | s> <s | d_j s>)` of the states s, the mean over examples.

    Each angle turns by a Pauli matrix, so that the derivative by it is half of the state at an angle larger by pi.

    Args:
        circuit: any. parameters: (D,). x: examples (B, N).

    Returns:
        (D, D), symmetric, without negative eigenvalues. Its :func:`rank` is at most 2^(n+1) - 2 with one example, and
        4^n - 1 with any number: a circuit with fewer parameters than that is not over-parameterised, and neither is
        one whose rank more parameters would still raise.

    Source:
        Larocca et al., arXiv 2109.11676, name over-parameterised what has reached its largest rank; recalled.

    Examples:
        >>> circuit = Circuit(inputs=1, per_input=1, layers=2)
        >>> rank(fisher(circuit, circuit.initial(0), torch.tensor([[1.0]], dtype=torch.float64)))
        2
    """
    turns = torch.pi * torch.eye(circuit.parameters, dtype=parameters.dtype, device=parameters.device)
    slopes = circuit.states((parameters + turns)[:, None], x) / 2
    states = circuit.states(parameters, x)
    along = (states.conj() * slopes).sum(-1)
    flat = slopes.flatten(1)
    products = flat.conj() @ flat.T - along.conj() @ along.T
    return 4 * products.real / x.size(0)


def rank(matrix: Tensor, tolerance: float = 1e-9) -> int:
    """How many eigenvalues of a symmetric matrix (D, D) are more than ``tolerance`` times the largest one."""
    values = torch.linalg.eigvalsh(matrix)
    return int((values > tolerance * values[-1].clamp_min(torch.finfo(matrix.dtype).tiny)).sum())
