"""The algebra of psoCNN: differences of two lists of layers, a velocity of two differences, and the list that moved.

A block of layers of images is aligned from its start, one of layers behind them from its end. Layers are values here;
in the published code they are shared and changed in place, so that a pooling which one list loses may vanish from the
best list too.

Source: F. E. Fernandes Junior and G. G. Yen, Swarm and Evolutionary Computation 49 (2019), algorithms 3 to 5, and their
published code.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Literal

from dnal.models.genomes.genome import Layer

KEEP: Literal["keep"] = "keep"
REMOVE: Literal["remove"] = "remove"
Move = Layer | Literal["keep", "remove"]
"""What is done at a place of a list: the layer there stays, it goes, or this one takes its place."""
Same = Callable[[Layer, Layer], bool]


def same_kind(one: Layer, other: Layer) -> bool:
    """Whether two layers are of one kind, whatever their values: psoCNN's rule, by which values alone never move."""
    return one.kind == other.kind


def same_layer(one: Layer, other: Layer) -> bool:
    """Whether two layers are equal, with their values."""
    return one == other


def any_two(one: Layer, other: Layer) -> bool:
    """psoCNN's rule for fully connected layers, which are all of one kind."""
    return True


def difference(towards: Sequence[Layer], own: Sequence[Layer], same: Same = same_kind) -> list[Move]:
    """What makes ``own`` a list like ``towards``, place by place, both aligned at their start.

    Examples:
        >>> conv, pool = Layer("conv", (8, 3)), Layer("max")
        >>> difference([conv, pool, conv], [conv, conv])
        ['keep', Layer(kind='max', values=()), Layer(kind='conv', values=(8, 3))]
        >>> difference([conv], [conv, pool])
        ['keep', 'remove']
    """
    moves: list[Move] = []
    for theirs, ours in zip_longest(towards, own):
        if theirs is None:
            moves.append(REMOVE)
        elif ours is not None and same(theirs, ours):
            moves.append(KEEP)
        else:
            moves.append(theirs)
    return moves


def velocity(to_own_best: Sequence[Move], to_best: Sequence[Move], share: float, draw: random.Random) -> list[Move]:
    """At each place the move towards the best list of all, with probability ``share``, or that towards the own best;
    where the chosen one has no such place, the layer goes."""
    return [
        (theirs if draw.random() <= share else ours) or REMOVE
        for ours, theirs in zip_longest(to_own_best, to_best)
    ]  # fmt: skip


def moved(own: Sequence[Layer], moves: Sequence[Move]) -> list[Layer]:
    """The list after its move, which has a place for each of its layers.

    Examples:
        >>> conv, pool = Layer("conv", (8, 3)), Layer("max")
        >>> [str(layer) for layer in moved([conv, conv], ["keep", "remove", pool])]
        ['conv_8_3', 'max']
    """
    found: list[Layer] = []
    for place, move in enumerate(moves):
        if move == REMOVE:
            continue
        if isinstance(move, Layer):
            found.append(move)
        elif place < len(own):
            found.append(own[place])
    return found
