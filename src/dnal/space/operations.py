"""The operations of a forward pass, with sizes that follow the variables: what memory and latency are counted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from dnal.space.labels import per_index, rows


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor that an operation takes or gives.

    Attributes:
        number: equal for operands that are the same value; what an operation writes in place is a new one.
        shape: in the whole network.
        sides: per dimension the variable ids of its indices, shape (size,), -1 = fixed; or None where the size stays.
        itemsize: bytes of an element.
        parameter: the name, if it is a parameter or buffer itself.
    """

    number: int
    shape: tuple[int, ...]
    sides: tuple[Tensor | None, ...]
    itemsize: int
    parameter: str | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One dispatched operation.

    Attributes:
        name: of the ATen operation, without overload and in-place mark ("convolution", "addmm", "relu").
        path: the innermost module that ran it.
        arguments: its positional arguments, with None in the place of tensors.
        inputs, outputs: its tensors, in order.
    """

    name: str
    path: str
    arguments: tuple[Any, ...]
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]


def operand(number: int, tensor: Tensor, layers: Sequence[Tensor], parameter: str | None) -> Operand:
    """What is known of a tensor while tracing: its sides are labels, a row for each index, shape (size, any)."""
    sides = tuple(rows(layers, d) for d in range(tensor.dim()))
    return Operand(number, tuple(tensor.shape), sides, tensor.element_size(), parameter)


def with_variables(operations: Sequence[Operation], of_label: Tensor) -> list[Operation]:
    """The same operations with the variables of the labels in their sides."""

    def settled(known: Operand) -> Operand:
        return replace(known, sides=tuple(None if side is None else per_index(of_label[side]) for side in known.sides))

    return [
        replace(o, inputs=tuple(map(settled, o.inputs)), outputs=tuple(map(settled, o.outputs))) for o in operations
    ]
