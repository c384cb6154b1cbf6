"""A network's operations at another batch than the one at which they were traced."""

from __future__ import annotations

from torch import nn

from dnal.base.errors import UserError
from dnal.latency.layers import Shapes
from dnal.space.operations import Operation
from dnal.space.rules import RULES
from dnal.space.space import Space
from dnal.space.surgery.bake import baked
from dnal.space.surgery.inputs import Inputs, at_batch, batch_size
from dnal.space.trace import traced


def shapes_at(network: nn.Module, space: Space, inputs: Inputs, batch: int) -> list[tuple[Shapes, Shapes]]:
    """Per operation of the Space the shapes of its inputs and outputs at this batch. A size that grows from the example
    to one of twice its batch grows in proportion.

    Args:
        inputs: of any batch, not only of that at which the Space was traced.

    Raises:
        UserError: where the network runs other operations on another batch.
    """
    network = baked(network, space.baked) if space.baked else network

    def operations_at(size: int) -> list[Operation]:
        found = traced(network, at_batch(inputs, size), RULES).operations
        if [o.name for o in found] != [o.name for o in space.operations]:
            raise UserError(
                f"the network runs other operations on another batch; give example inputs of a batch of {batch}."
            )
        return found

    here = batch_size(inputs)
    once = operations_at(here)
    twice = once if here == batch else operations_at(2 * here)

    def scaled(small: tuple[int, ...], large: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(a + (b - a) * (batch - here) // here for a, b in zip(small, large, strict=True))

    return [
        (
            tuple(scaled(a.shape, b.shape) for a, b in zip(small.inputs, large.inputs, strict=True)),
            tuple(scaled(a.shape, b.shape) for a, b in zip(small.outputs, large.outputs, strict=True)),
        )
        for small, large in zip(once, twice, strict=True)
    ]
