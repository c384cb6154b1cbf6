"""The layers of a network whose time is measured: what runs, at which sizes, and what makes these sizes.

Two operations that do the same work are one layer: it is timed once.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from dnal.space.operations import Operand, Operation

Shapes = tuple[tuple[int, ...], ...]
Place = tuple[int, int]
"""A dimension of an operand; operands are counted through the inputs of an operation and on through its outputs."""
Product = tuple[float, list[Place]]
"""A factor times the sizes of dimensions."""

KINDS = ("convolution", "depthwise", "linear", "norm", "elementwise", "product")

LINEAR = ("addmm", "mm")
PRODUCTS = ("bmm", "baddbmm", "_scaled_dot_product", "scaled_dot_product", "_softmax", "einsum")
ACTIVATIONS = ("relu", "hardtanh", "clamp")
FREE = ("empty", "detach", "alias", "lift_fresh", "_unsafe_view", "_reshape_alias")


@dataclass(frozen=True)
class Layer:
    """One operation that is timed.

    Attributes:
        operation: its ATen name; kind: one of ``KINDS``.
        arguments: its positional arguments, None in the place of tensors.
        shapes: of its input tensors in the whole network, at the batch of the profile.
        itemsizes: bytes of an element of each.
        roles: per input and dimension the axis that makes its size, counted from 1; 0 = the size stays.
        groups: of a convolution; 0 where every channel is a group of its own.
        channels_last: the order of memory of images and kernels.
        activation: the operation that is part of it, where the backend fuses them.
    """

    operation: str
    kind: str
    arguments: tuple[Any, ...]
    shapes: Shapes
    itemsizes: tuple[int, ...]
    roles: Shapes
    groups: int = 1
    channels_last: bool = False
    activation: tuple[Any, ...] | None = None

    @cached_property
    def key(self) -> str:
        """A text that two layers share if they do the same work."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def positions(self) -> int:
        """How often it computes its channels: images times places in each, or rows."""
        if self.kind in ("convolution", "depthwise"):
            return math.prod(size for dim, size in enumerate(self.shapes[0]) if dim != 1)
        if self.kind == "linear":
            return self.shapes[-2][0]
        shape, roles = max(zip(self.shapes, self.roles, strict=True), key=lambda own: math.prod(own[0]))
        return math.prod(size for size, role in zip(shape, roles, strict=True) if not role)

    @property
    def family(self) -> str:
        """What a calibration corrects by one factor: layers of one kind whose positions lie between the same two powers
        of four, in images the layers of one resolution. Alone a layer finds its input in a cache; inside a network it
        finds what its neighbours have left there, and they are of its size."""
        return f"{self.kind} from {4 ** ((max(1, self.positions).bit_length() - 1) // 2)} positions"

    @property
    def by_width(self) -> bool:
        """Whether its axes are widths; else its one axis is the number of elements it touches."""
        return self.kind in ("convolution", "depthwise", "linear")

    @property
    def axes(self) -> int:
        return max((max(roles, default=0) for roles in self.roles), default=0)

    def width(self, axis: int) -> int:
        """The size along an axis in the whole network."""
        return max(
            shape[d] * (self.groups if self._is_grouped_side(i, d) else 1)
            for i, (shape, roles) in enumerate(zip(self.shapes, self.roles, strict=True))
            for d, role in enumerate(roles)
            if role == axis
        )

    def shapes_at(self, widths: Sequence[int]) -> Shapes:
        """The shapes of its inputs where its axes have these widths."""
        return tuple(
            tuple(
                (widths[role - 1] // (self.groups if self._is_grouped_side(i, d) else 1)) if role else size
                for d, (size, role) in enumerate(zip(shape, roles, strict=True))
            )
            for i, (shape, roles) in enumerate(zip(self.shapes, self.roles, strict=True))
        )

    def resized(self, size: Callable[[int], int]) -> Shapes:
        """The shapes of its inputs with ``size`` of every size that varies."""
        return tuple(
            tuple(size(n) if role else n for n, role in zip(shape, roles, strict=True))
            for shape, roles in zip(self.shapes, self.roles, strict=True)
        )

    def at(self, shapes: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
        """Its arguments where its inputs have these shapes."""
        if self.kind == "depthwise":
            return (*self.arguments[:-1], shapes[0][1])
        return self.arguments

    def _is_grouped_side(self, number: int, dim: int) -> bool:
        """The dimension of a convolution's weight that holds the channels of one group only."""
        if self.kind != "convolution" or self.groups < 2 or number != 1:
            return False
        return dim == (1 if not self.arguments[6] else 0)


@dataclass(frozen=True)
class Use:
    """A layer as one operation uses it: what makes the sizes of its axes.

    Attributes:
        layer: which; path: of the module that runs it.
        axes: per axis a sum of products.
    """

    layer: Layer
    path: str
    axes: list[list[Product]]


def uses_of(
    operations: Sequence[Operation],
    shapes: Sequence[tuple[Shapes, Shapes]],
    *,
    fuses: bool,
    channels_last: bool,
    in_place: Callable[[str], bool] = lambda path: False,
) -> list[Use | None]:
    """Per operation the layer that it is; None where it costs nothing (a view, or part of the one before).

    Args:
        shapes: per operation those of its inputs and outputs at the batch of the profile.
        fuses: whether batch norms and activations behind a convolution become part of it.
        in_place: whether the module of this path writes into its input.
    """
    part_of, activations = _fused(operations) if fuses else ({}, {})
    found: list[Use | None] = []
    for number, (operation, (inputs, outputs)) in enumerate(zip(operations, shapes, strict=True)):
        if number in part_of or _is_free(operation):
            found.append(None)
        elif operation.name == "convolution":
            found.append(_convolution(operation, inputs, channels_last, activations.get(number)))
        elif operation.name in LINEAR and len(operation.inputs[-1].shape) == 2:
            found.append(_linear(operation, inputs))
        else:
            found.append(_other(operation, inputs, outputs, channels_last, in_place(operation.path)))
    return found


def _convolution(operation: Operation, shapes: Shapes, channels_last: bool, activation: Any) -> Use:
    image = operation.inputs[0]
    transposed, groups = bool(operation.arguments[6]), int(operation.arguments[8])
    out_dim = 1 if transposed else 0
    channels = image.shape[1]
    arguments = _plain(operation.arguments)
    if 1 < groups == channels:
        role = int(image.sides[1] is not None)
        roles = _roles(shapes, {(0, 1): role, (1, 0): role, (2, 0): role})
        layer = Layer(
            "convolution", "depthwise", arguments, shapes, _itemsizes(operation), roles, 0, channels_last, activation
        )
        return Use(layer, operation.path, [[(1.0, [(0, 1)])]] if role else [])
    inner = (0, 1) if groups > 1 else (1, 1 - out_dim)
    outer = (len(operation.inputs), 1) if transposed and groups > 1 else (1, out_dim)
    axes, first, second = _two_axes(operation, inner, outer)
    roles = _roles(shapes, {(0, 1): first, (1, 1 - out_dim): first, (1, out_dim): second, (2, 0): second})
    layer = Layer(
        "convolution", "convolution", arguments, shapes, _itemsizes(operation), roles, groups, channels_last, activation
    )
    return Use(layer, operation.path, axes)


def _linear(operation: Operation, shapes: Shapes) -> Use:
    last = len(operation.inputs) - 1
    axes, first, second = _two_axes(operation, (last, 0), (last, 1))
    places = {(last, 0): first, (last, 1): second, (last - 1, 1): first}
    if last == 2:
        places[0, len(shapes[0]) - 1] = second
    layer = Layer(
        operation.name, "linear", _plain(operation.arguments), shapes, _itemsizes(operation), _roles(shapes, places)
    )
    return Use(layer, operation.path, axes)


def _other(operation: Operation, inputs: Shapes, outputs: Shapes, channels_last: bool, in_place: bool) -> Use:
    name = operation.name
    kind = "norm" if "norm" in name else "product" if name.startswith(PRODUCTS) else "elementwise"
    if in_place and kind == "elementwise" and len(inputs) == 1 and hasattr(torch.ops.aten, name + "_"):
        name += "_"
    roles = tuple(tuple(int(side is not None) for side in operand.sides) for operand in operation.inputs)
    layer = Layer(
        name, kind, _plain(operation.arguments), inputs, _itemsizes(operation), roles, channels_last=channels_last
    )
    touched = [
        _elements(number, operand, shape)
        for number, (operand, shape) in enumerate(
            zip((*operation.inputs, *operation.outputs), (*inputs, *outputs), strict=True)
        )
    ]
    return Use(layer, operation.path, [touched[: len(inputs) + 1]])


def _elements(number: int, operand: Operand, shape: tuple[int, ...]) -> Product:
    """How many elements an operand has."""
    fixed = math.prod(n for n, side in zip(shape, operand.sides, strict=True) if side is None)
    return float(fixed), [(number, dim) for dim, side in enumerate(operand.sides) if side is not None]


def _two_axes(operation: Operation, inner: Place, outer: Place) -> tuple[list[list[Product]], int, int]:
    """The axes of a product's inputs and outputs, and the number of each; 0 where the size stays."""
    operands = (*operation.inputs, *operation.outputs)
    varying = [place for place in (inner, outer) if operands[place[0]].sides[place[1]] is not None]
    numbers = [varying.index(place) + 1 if place in varying else 0 for place in (inner, outer)]
    return [[(1.0, [place])] for place in varying], numbers[0], numbers[1]


def _roles(shapes: Shapes, places: dict[tuple[int, int], int]) -> Shapes:
    return tuple(tuple(places.get((i, d), 0) for d in range(len(shape))) for i, shape in enumerate(shapes))


def _itemsizes(operation: Operation) -> tuple[int, ...]:
    return tuple(operand.itemsize for operand in operation.inputs)


def _plain(arguments: Any) -> Any:
    """The same in tuples of plain values: other things (types, layouts) are named."""
    if isinstance(arguments, (tuple, list)):
        return tuple(_plain(item) for item in arguments)
    return arguments if isinstance(arguments, (bool, int, float, str, type(None))) else str(arguments)


def _is_free(operation: Operation) -> bool:
    if operation.name in FREE or not operation.inputs:
        return True
    packet = getattr(torch.ops.aten, operation.name, None)
    return packet is not None and any(getattr(packet, overload).is_view for overload in packet.overloads())


def _fused(operations: Sequence[Operation]) -> tuple[dict[int, int], dict[int, Any]]:
    """Which operations become part of a convolution before them, and the activation of each convolution."""
    readers = Counter(operand.number for o in operations for operand in o.inputs)
    reader = {operand.number: number for number, o in enumerate(operations) for operand in o.inputs}
    part_of: dict[int, int] = {}
    activations: dict[int, Any] = {}
    for number, operation in enumerate(operations):
        if operation.name != "convolution":
            continue
        last = number
        for wanted in (("native_batch_norm", "_native_batch_norm_legit_no_training"), ACTIVATIONS):
            value = operations[last].outputs[0].number
            following = reader.get(value)
            if readers[value] == 1 and following is not None and operations[following].name in wanted:
                part_of[following] = number
                last = following
                if wanted is ACTIVATIONS:
                    activations[number] = (operations[following].name, *_plain(operations[following].arguments[1:]))
    return part_of, activations
