"""Reading a network of torch as a chain of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dnal.analyses.measures.explicit import CONVOLUTIONS, explicit, plan_of
from dnal.base.errors import UserError, described
from dnal.predictors.weights.chain import ACTIVATIONS, MEAN, Chain, Layer, Step, said
from dnal.space.operations import Operand, Operation
from dnal.space.space import Space
from dnal.space.surgery.tensors import named_tensors

LINEAR = ("addmm", "mm", "linear")
SAME = ("view", "_unsafe_view", "reshape", "flatten", "alias", "detach", "clone", "contiguous", "dropout")
"""A linear layer of a chain reads anything flattened; what these change otherwise, the numbers tell."""
POOLS = {"max_pool2d_with_indices": "max_pool", "max_pool2d": "max_pool", "avg_pool2d": "avg_pool"}
NORMS = ("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training", "batch_norm")
TOLERANCE = 1e-3
"""How far, over the largest answer, a chain may be from its network."""


def chain_of(network: nn.Module, inputs: Tensor) -> Chain:
    """A network as the chain of its linear layers and convolutions.

    One forward pass is traced, as a Space does it. Batch norms are folded into the layer before them, and weights that
    a layer computes are taken as they are. What was read is then run beside the network: it must say the same.

    Args:
        network: of linear layers, convolutions, activations (ReLU, GELU, SiLU, tanh, sigmoid, leaky ReLU) and poolings
            after one another; stays as it is. inputs: what it is called with, (N, F) or (N, C, H, W).

    Raises:
        UserError: it is no such chain, naming what cannot be read; or as :meth:`dnal.Space.of`.

    Examples:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> found = chain_of(network, torch.randn(2, 1, 4, 4))
        >>> found.channels, found.layers[0].activation
        ((16, 8, 2), 'relu')
    """
    if not isinstance(inputs, Tensor):
        raise UserError(f"a chain of layers reads one tensor, not {described(inputs)}.")
    whole = explicit(network, plan_of(network, inputs)).network
    space = Space.of(whole, inputs, probe=False)
    tensors = {name: one.detach().float().cpu() for name, one in named_tensors(whole)}
    reading = _Reading(tensors)
    for operation in space.operations:
        reading.take(operation)
    found = Chain(tuple(inputs.shape[1:]), tuple(reading.layers))
    with torch.no_grad():
        wanted = whole.eval()(inputs)
        try:
            ours = said(found, inputs.detach().float().cpu())[-1]
        except RuntimeError:  # layers that read something else than all of what comes before them
            ours = None
    if not isinstance(wanted, Tensor) or ours is None or wanted.flatten(1).shape != ours.flatten(1).shape:
        raise UserError(
            "the network cannot be read as a chain of layers: what was read of it answers something of another shape."
        )
    wanted = wanted.detach().float().cpu().flatten(1)
    apart = float((ours.flatten(1) - wanted).abs().max())
    if not apart <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise UserError(
            f"the network cannot be read as a chain of layers: what was read of it answers otherwise (by {apart:.2g})."
        )
    return found


@dataclass
class _Reading:
    """What was read so far: the layers, and the number of the value that the last of them made (-1: the input)."""

    tensors: Mapping[str, Tensor]
    layers: list[Layer] = field(default_factory=list)
    value: int = -1
    known: dict[int, str] = field(default_factory=dict)

    def take(self, operation: Operation) -> None:
        parameters: list[tuple[Operand, str | None]] = []
        others: list[tuple[Operand, str | None]] = []
        for operand in operation.inputs:
            name = operand.parameter or self.known.get(operand.number)
            (parameters if name is not None else others).append((operand, name))
        if not others:
            if len(parameters) == 1:  # a view of a weight
                self.known.update({made.number: str(parameters[0][1]) for made in operation.outputs})
            return
        if self.value < 0:
            self.value = others[0][0].number
        if len(others) > 1 or others[0][0].number != self.value:
            raise _unread(operation, "joins several values, or reads one a second time")
        self._follow(operation, [(operand, str(name)) for operand, name in parameters])
        if operation.outputs:
            self.value = operation.outputs[0].number

    def _follow(self, operation: Operation, parameters: list[tuple[Operand, str]]) -> None:
        name = operation.name
        if name in (*CONVOLUTIONS, *LINEAR):
            self.layers.append(self._layer(operation, parameters))
        elif name in NORMS and self.layers:
            self._norm(operation, [self.tensors[own] for _, own in parameters])
        elif name in ACTIVATIONS or name in POOLS or name == "mean":
            if not self.layers:
                raise _unread(operation, "comes before the first layer")
            last = self.layers[-1]
            self.layers[-1] = replace(last, steps=(*last.steps, _step(operation)))
        elif name not in SAME:
            raise _unread(operation, "is no linear layer, convolution, activation or pooling")

    def _layer(self, operation: Operation, parameters: list[tuple[Operand, str]]) -> Layer:
        named = [self.tensors[name] for _, name in parameters]
        weight = next((own for own in named if own.dim() > 1), None)
        bias = next((own for own in named if own.dim() == 1), None)
        if weight is None:
            raise _unread(operation, "multiplies by no weight that the network has")
        values = weight.numpy(), np.zeros(len(weight), np.float32) if bias is None else bias.numpy()
        if operation.name in LINEAR:
            return Layer(*values)
        _, _, _, stride, padding, dilation, transposed, _, groups = operation.arguments[:9]
        if transposed or groups != 1 or weight.dim() != 4:
            raise _unread(operation, "is a transposed, grouped or one- or three-dimensional convolution")
        return Layer(*values, (), _two(stride), _two(padding), _two(dilation))

    def _norm(self, operation: Operation, named: list[Tensor]) -> None:
        if len(named) != 4 or self.layers[-1].steps:
            raise _unread(operation, "is a batch norm that does not follow a layer alone, or has no statistics")
        weight, bias, mean, variance = (own.double().numpy() for own in named)
        scale = weight / np.sqrt(variance + float(operation.arguments[7]))
        last = self.layers[-1]
        rows = scale.reshape(-1, *[1] * (last.weight.ndim - 1))
        folded, moved = last.weight * rows, (last.bias - mean) * scale + bias
        self.layers[-1] = replace(last, weight=folded.astype(np.float32), bias=moved.astype(np.float32))


def _step(operation: Operation) -> Step:
    name = operation.name
    if name in ACTIVATIONS:
        return (name,)
    if name == "mean":
        if len(operation.inputs[0].shape) != 4:
            raise _unread(operation, "is a mean over something else than the positions of a map")
        return (MEAN,)
    kernel = _two(operation.arguments[1])
    stride = _two(operation.arguments[2]) if len(operation.arguments) > 2 and operation.arguments[2] else kernel
    padding = _two(operation.arguments[3]) if len(operation.arguments) > 3 else (0, 0)
    return (POOLS[name], *kernel, *stride, *padding)


def _two(sizes: Any) -> tuple[int, int]:
    own = [int(each) for each in sizes]
    return (own[0], own[-1])


def _unread(operation: Operation, why: str) -> UserError:
    where = f" in '{operation.path}'" if operation.path else ""
    return UserError(f"the network cannot be read as a chain of layers: '{operation.name}'{where} {why}.")
