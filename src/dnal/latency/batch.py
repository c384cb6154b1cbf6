"""A network's operations at another batch than the one at which they were traced."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from dnal.base.errors import UserError
from dnal.latency.layers import Place, Product, Shapes, Use
from dnal.space.operations import Operation
from dnal.space.retrace import operations_on
from dnal.space.space import Space
from dnal.space.surgery.bake import baked
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size

Axes = list[list[Product]]
"""Per axis of a layer the products whose sum is its size."""


def operations_at(
    network: nn.Module, space: Space, inputs: Inputs, batch: int
) -> tuple[list[Operation], list[tuple[Shapes, Shapes]]]:
    """The operations of a pass on ``batch`` examples, with sizes that follow the variables of ``space``, and per
    operation the shapes of its inputs and outputs there. They may be others than the Space has: one example is viewed
    where several are copied. A size that grows from a few examples to twice as many grows in proportion.

    Args:
        inputs: of any batch, not only of that at which the Space was traced.

    Raises:
        UserError: where the network runs other operations on every other batch.
    """
    network = baked(network, space.baked) if space.baked else network
    here = batch_size(inputs)
    few = batch if batch == 1 or batch == here else max(here, 2)

    def operations_of(size: int) -> list[Operation]:
        return operations_on(network, space, at_batch(inputs, size))

    once = operations_of(few)
    twice = once if few == batch else operations_of(2 * few)
    if _names(once) != _names(twice):
        raise _other_operations(batch)

    def scaled(small: tuple[int, ...], large: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(a + (b - a) * (batch - few) // few for a, b in zip(small, large, strict=True))

    shapes = [
        (
            tuple(scaled(a.shape, b.shape) for a, b in zip(small.inputs, large.inputs, strict=True)),
            tuple(scaled(a.shape, b.shape) for a, b in zip(small.outputs, large.outputs, strict=True)),
        )
        for small, large in zip(once, twice, strict=True)
    ]
    return (space.operations if _names(once) == _names(space.operations) else once), shapes


def places_in(
    space: Space, operations: Sequence[Operation], uses: Sequence[Use | None], batch: int
) -> list[tuple[int, Axes]]:
    """Per use of an operation the number of an operation of the Space that has all the sizes that its axes are made of,
    and the axes made of those: its own, unless the ``operations`` are those of another batch.

    Raises:
        UserError: where the Space has none.
    """
    if operations is space.operations:
        return [(number, [] if use is None else use.axes) for number, use in enumerate(uses)]
    known = [{one.ids: one for one in _sides(operation)} for operation in space.operations]
    found: list[tuple[int, Axes]] = []
    for operation, use in zip(operations, uses, strict=True):
        own = {one.place: one for one in _sides(operation)}
        axes = [] if use is None else use.axes
        sides = {own[place].ids for sums in axes for _, places in sums for place in places}
        number = next((n for n, other in enumerate(known) if sides <= other.keys()), None)
        if number is None:
            raise _other_operations(batch)
        moved: Axes = []
        for sums in axes:
            moved.append([])
            for factor, places in sums:
                pairs = [(own[place], known[number][own[place].ids]) for place in places]
                moved[-1].append(
                    (factor * math.prod(a.times / b.times for a, b in pairs), [other.place for _, other in pairs])
                )
        found.append((number, moved))
    return found


class _Side(NamedTuple):
    """A size of an operation that varies: the ids of its variables, how often they come one after the other (once for
    each example), and where it is."""

    ids: bytes
    times: int
    place: Place


def _sides(operation: Operation) -> list[_Side]:
    found = []
    for number, operand in enumerate((*operation.inputs, *operation.outputs)):
        for dim, side in enumerate(operand.sides):
            if side is not None:
                times = next(k for k in range(len(side), 0, -1) if _comes(side, k))
                found.append(_Side(side[: len(side) // times].numpy().tobytes(), times, (number, dim)))
    return found


def _comes(side: Tensor, times: int) -> bool:
    """Whether the same ids come so often."""
    return len(side) % times == 0 and bool((side.view(times, -1) == side[: len(side) // times]).all())


def _other_operations(batch: int) -> UserError:
    return UserError(f"the network runs other operations on another batch; give example inputs of a batch of {batch}.")


def _names(operations: Sequence[Operation]) -> list[str]:
    return [operation.name for operation in operations]
