"""Pheromone of an ant colony on a layered graph, and the rules of the ant colony system.

A place of a path is a depth and the kind of layer that stands there. Edges between places, and the values of a place's
layer, each have pheromone; a value's belongs to the place, not to the edge by which an ant came.

Source: M. Dorigo and L. M. Gambardella, Ant colony system (1997), equations 1 to 5; as DeepSwarm's code has them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")

Trail = tuple[object, ...]
"""Something that has pheromone: ("edge", depth, kind before, kind), or ("value", depth, kind, name, value)."""


@dataclass
class Pheromone:
    """How much pheromone is where.

    Attributes:
        start: everywhere at first. local, best: the shares that the two updates replace.
    """

    start: float
    local: float
    best: float
    _at: dict[Trail, float] = field(default_factory=dict)

    def at(self, trail: Trail) -> float:
        return self._at.get(trail, self.start)

    def update_local(self, trails: Sequence[Trail]) -> None:
        """After an ant has walked: towards the start, so that the next one is drawn elsewhere: what is above it
        loses, what is below it gains."""
        for trail in trails:
            self._at[trail] = (1 - self.local) * self.at(trail) + self.local * self.start

    def update_best(self, trails: Sequence[Trail], worth: float) -> None:
        """After a round, on the path of the best ant so far: towards what it is worth."""
        for trail in trails:
            self._at[trail] = (1 - self.best) * self.at(trail) + self.best * worth


def chosen(attraction: Mapping[T, float], greediness: float, draw: random.Random) -> T:
    """The rule of the ant colony system: with probability ``greediness`` what attracts most, of equals one by lot; else
    by lot in proportion to the attraction.

    Args:
        attraction: of each option, pheromone times heuristic.
    """
    options = list(attraction)
    if draw.random() <= greediness:
        most = max(attraction.values())
        best = [option for option in options if attraction[option] == most]
        return best[draw.randrange(len(best))]
    return draw.choices(options, [attraction[option] for option in options])[0]
