"""The classical control of a circuit: a perceptron as a function of parameters and inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dnal.base.errors import UserError, described


@dataclass(frozen=True)
class Perceptron:
    """One hidden layer of tanh; called as a :class:`dnal.models.quantum.circuit.Circuit` is.

    Attributes:
        inputs: N, numbers of an example. hidden: neurons. outputs: numbers that come out.

    Raises:
        UserError: one of them is below 1.

    Examples:
        >>> network = Perceptron(inputs=2, hidden=8)
        >>> network.parameters, network(network.initial(0), torch.rand(5, 2, dtype=torch.float64)).shape
        (33, torch.Size([5, 1]))
    """

    inputs: int = 2
    hidden: int = 16
    outputs: int = 1

    def __post_init__(self) -> None:
        if min(self.inputs, self.hidden, self.outputs) < 1:
            raise UserError("inputs, hidden neurons and outputs of a perceptron are 1 or more.")

    @property
    def parameters(self) -> int:
        """D: weights and biases of the first layer, then of the second."""
        return self.hidden * (self.inputs + 1) + self.outputs * (self.hidden + 1)

    def initial(self, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Parameters (D,), even within 1 / sqrt(fan-in), as torch's linear layers have them."""
        draw = torch.Generator().manual_seed(seed)
        first = self.hidden * (self.inputs + 1)
        bounds = torch.full((self.parameters,), 1 / math.sqrt(self.hidden), dtype=torch.float64)
        bounds[:first] = 1 / math.sqrt(self.inputs)
        return (bounds * (2 * torch.rand(self.parameters, generator=draw, dtype=torch.float64) - 1)).to(dtype)

    def first_layer(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Its weights (..., hidden, N) and biases (..., hidden); of a gradient, the derivatives by them."""
        many = self.hidden * self.inputs
        weights = parameters[..., :many].unflatten(-1, (self.hidden, self.inputs))
        return weights, parameters[..., many : many + self.hidden]

    def __call__(self, parameters: Tensor, x: Tensor) -> Tensor:
        """Parameters (..., D) and inputs (..., N) -> (..., outputs).

        Raises:
            UserError: another number of parameters or inputs.
        """
        if parameters.size(-1) != self.parameters or x.size(-1) != self.inputs:
            raise UserError(
                f"this perceptron has {self.parameters} parameters and takes {self.inputs} numbers of an example; "
                f"given were {described(parameters)} and {described(x)}."
            )
        weights, biases = self.first_layer(parameters)
        hidden = torch.tanh((weights @ x[..., None]).squeeze(-1) + biases)
        rest = parameters[..., self.hidden * (self.inputs + 1) :]
        last = rest[..., : self.outputs * self.hidden].unflatten(-1, (self.outputs, self.hidden))
        found: Tensor = (last @ hidden[..., None]).squeeze(-1) + rest[..., self.outputs * self.hidden :]
        return found
