"""A variational circuit: the Fourier tower, layers of rotations and CNOTs, and Z of every qubit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnal.base.errors import UserError, described
from dnal.models.quantum.simulator import apply_each, check_qubits, cnot_ring, expectations_z, rz_ry_rx
from dnal.models.quantum.tower import encode, highest_frequency


@dataclass(frozen=True)
class Circuit:
    """A function of parameters and inputs. A layer is RX, RY and RZ on every qubit, then a ring of CNOTs.

    Attributes:
        inputs: N, numbers of an example. per_input: qubits of each of them. layers: 1 or more.
        base: of the tower (:func:`dnal.models.quantum.tower.encode`).

    Raises:
        UserError: more than 10 qubits, or a number below 1.

    Examples:
        >>> circuit = Circuit(inputs=2, per_input=2, layers=3)
        >>> circuit.qubits, circuit.parameters
        (4, 36)
        >>> circuit(circuit.initial(seed=0), torch.rand(5, 2, dtype=torch.float64)).shape
        torch.Size([5, 4])
    """

    inputs: int = 1
    per_input: int = 2
    layers: int = 3
    base: int = 3

    def __post_init__(self) -> None:
        if min(self.inputs, self.per_input, self.layers, self.base) < 1:
            raise UserError("inputs, qubits of each, layers and the base of a circuit are 1 or more.")
        check_qubits(self.qubits)

    @property
    def qubits(self) -> int:
        return self.inputs * self.per_input

    @property
    def parameters(self) -> int:
        """D, angles: 3 of each qubit in every layer."""
        return 3 * self.qubits * self.layers

    @property
    def highest(self) -> int:
        """The highest frequency of what comes out, in each input."""
        return highest_frequency(self.per_input, self.base)

    def initial(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Parameters (D,) drawn evenly from 0 to 2 pi."""
        draw = torch.Generator().manual_seed(seed)
        return 2 * torch.pi * torch.rand(self.parameters, generator=draw, dtype=torch.float64).to(dtype)

    def run(self, parameters: Tensor, state: Tensor) -> Tensor:
        """The layers on states of any kind, without the encoding.

        Args:
            parameters: (..., D). state: (..., 2^n).

        Returns:
            states (..., 2^n), over the broadcast leading dimensions.

        Raises:
            UserError: another number of parameters.
        """
        if parameters.size(-1) != self.parameters:
            raise UserError(f"this circuit has {self.parameters} parameters; given was {described(parameters)}.")
        gates = rz_ry_rx(parameters.unflatten(-1, (self.layers, self.qubits, 3)))
        for layer in gates.unbind(-4):
            state = cnot_ring(apply_each(state, layer))
        return state

    def states(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Before the measurement: parameters (..., D) and inputs (..., N) -> states (..., 2^n).

        Raises:
            UserError: another number of parameters or inputs.
        """
        if x.size(-1) != self.inputs:
            raise UserError(f"this circuit takes {self.inputs} numbers of an example; given was {described(x)}.")
        return self.run(parameters, encode(x, self.per_input, self.base))

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """The expectation of Z of every qubit.

        Args:
            parameters: (D,) for all examples, or (..., D). x: (..., N), within [0, pi] to be told apart.

        Returns:
            (..., n), from -1 to 1.
        """
        return expectations_z(self.states(parameters, x))
