"""The operations of a forward pass, with sizes that follow the variables: what memory and latency are counted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
        writes: whether it changes a tensor that it takes.
    """

    name: str
    path: str
    arguments: tuple[Any, ...]
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    writes: bool = False


def sides(layers: Sequence[Tensor], dims: int) -> tuple[Tensor | None, ...]:
    """What is known of a tensor of so many dimensions while tracing: per dimension its labels, a row for each index,
    shape (size, any), or None."""
    return tuple(rows(layers, d) for d in range(dims))


def with_variables(operations: Sequence[Operation], of_label: Tensor) -> list[Operation]:
    """The same operations with the variables of the labels in their sides."""

    known: dict[int, Tensor | None] = {}  # many operands share their sides

    def variables(side: Tensor | None) -> Tensor | None:
        if side is None:
            return None
        if id(side) not in known:
            known[id(side)] = per_index(of_label[side])
        return known[id(side)]

    def settled(operand: Operand) -> Operand:
        sides = tuple(map(variables, operand.sides))
        return Operand(operand.number, operand.shape, sides, operand.itemsize, operand.parameter)

    return [
        Operation(o.name, o.path, o.arguments, tuple(map(settled, o.inputs)), tuple(map(settled, o.outputs)), o.writes)
        for o in operations
    ]
